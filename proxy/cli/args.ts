/** What follows the name of a command: flags, and words without one. Pure. */

import { parseArgs } from 'node:util';
import { nearest } from '../nearest.ts';

/** By name without dashes: what the flag takes. */
export type Flags = Readonly<Record<string, 'text' | 'seconds' | 'switch'>>;

export type Args = {
  readonly words: readonly string[];
  /** Of a flag given twice the last. */
  readonly text: (flag: string) => string | undefined;
  readonly seconds: (flag: string) => number | undefined;
  readonly has: (flag: string) => boolean;
};

export type ParsedArgs =
  | { readonly kind: 'args'; readonly args: Args }
  | { readonly kind: 'help' }
  | { readonly kind: 'faults'; readonly faults: readonly string[] };

export type Words = {
  /** As in `ID`, for the faults. */
  readonly what: string;
  readonly least: number;
  readonly most: number;
};

/** All faults at once; what was given is never in them, as it may be a secret. A lone `-` is a word. */
export function readArgs(given: readonly string[], flags: Flags, words: Words): ParsedArgs {
  const types = Object.entries(flags).map(
    ([flag, takes]) => [flag, takes === 'switch' ? 'boolean' : 'string'] as const,
  );
  const options = Object.fromEntries(types.map(([flag, type]) => [flag, { type }]));
  const { tokens } = parseArgs({
    args: [...given],
    options: { ...options, help: { type: 'boolean', short: 'h' } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const faults: string[] = [];
  const found = new Map<string, string>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    if (token.name === 'help') return { kind: 'help' };
    const fault = faultOf(token, flags);
    if (fault === undefined) found.set(token.name, token.value ?? '');
    else faults.push(fault);
  }
  if (faults.length === 0 && (positionals.length < words.least || positionals.length > words.most)) {
    const expected = words.most === 0 ? 'flags only' : `${words.least === 0 ? 'at most ' : ''}one ${words.what}`;
    faults.push(`expected ${expected}, got ${positionals.length === 0 ? 'none' : `${positionals.length} words`}`);
  }
  if (faults.length > 0) return { kind: 'faults', faults };
  const text = (flag: string): string | undefined => found.get(flag);
  const seconds = (flag: string): number | undefined => (found.has(flag) ? Number(found.get(flag)) : undefined);
  return { kind: 'args', args: { words: positionals, text, seconds, has: (flag) => found.has(flag) } };
}

type Token = { readonly name: string; readonly rawName: string; readonly value?: string | undefined };

const LONGEST_WAIT = 86_400;

function faultOf({ name, rawName, value }: Token, flags: Flags): string | undefined {
  const takes = Object.hasOwn(flags, name) && rawName.startsWith('--') ? flags[name] : undefined;
  if (takes === undefined) {
    const near = nearest(
      rawName,
      [...Object.keys(flags), 'help'].map((flag) => `--${flag}`),
    );
    return `${rawName}: unknown flag, ${near === undefined ? 'see --help' : `did you mean ${near}?`}`;
  }
  if (takes === 'switch') return value === undefined ? undefined : `--${name}: expected no value`;
  if (value === undefined || value === '') return `--${name}: expected a value, got nothing`;
  if (takes === 'text') return undefined;
  const right = /^\d+(\.\d+)?$/.test(value) && Number(value) >= 0.1 && Number(value) <= LONGEST_WAIT;
  return right ? undefined : `--${name}: expected seconds from 0.1 to ${LONGEST_WAIT}`;
}
