/** What every program gets of our environment that tests start; nothing else, so that they are the same everywhere. */

const { PATH = '', NODE_COMPILE_CACHE } = process.env;

/** The compile cache (vitest.config.ts) takes a quarter off the start of a server. */
export const CHILD_ENV: Readonly<Record<string, string>> = {
  PATH,
  ...(NODE_COMPILE_CACHE !== undefined && { NODE_COMPILE_CACHE }),
};
