/** What a browser says in `Origin`, as a value of an option. Pure. */

/** What is expected of one. */
export const WEB_ORIGIN = 'an origin without path, as in https://app.example.com';

/** What a sandboxed frame, or the page of a file, says: any page can make it (HTML standard, "opaque origin"). */
const OPAQUE = 'null';

/** In the form in which browsers say it; undefined: it is none. */
export function readWebOrigin(value: string): string | undefined {
  const origin = value.toLowerCase();
  if (origin === OPAQUE) return origin;
  if (!/^[a-z][a-z\d+.-]*:\/\/[^\s/?#@]+$/.test(origin)) return undefined;
  return /^https?:/.test(origin) && URL.canParse(origin) ? new URL(origin).origin : origin;
}
