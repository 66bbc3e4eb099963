/** What flags, environment or an object say about the options, and a sentence for each thing that says nothing we know. */

import { parseArgs } from 'node:util';
import { nearest } from './nearest.ts';
import { OPTIONS, type Option, optionOf } from './options.ts';

/** What was said for an option: the values, never none, and the flag or variable to name when one is wrong. */
export type Given = { readonly source: string; readonly values: readonly string[] };

export type Read = {
  /** By the option's name in `OPTIONS`. */
  readonly given: ReadonlyMap<string, Given>;
  /** A sentence for each argument that says nothing we know. */
  readonly faults: readonly string[];
  /** What is to be given where nothing was: the flag and variable of an option, or its name in an object. */
  readonly wanted: (name: string) => string;
};

const BY_FLAG: ReadonlyMap<string, string> = new Map(Object.entries(OPTIONS).map(([name, { flag }]) => [flag, name]));

/** A password may hold a comma, and one URL several hosts. */
const BEFORE_SCHEME = /,(?=\s*[a-z][a-z\d+.-]*:\/\/)/i;

/** Takes flags first, then the environment; an empty variable says nothing, of a flag given twice the last counts. */
export function readOptions(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Read {
  const { values, faults } = readFlags(args);
  const given = new Map<string, Given>();
  for (const [name, option] of Object.entries<Option>(OPTIONS)) {
    const flags = values.get(name);
    const said = env[option.env]?.trim() ?? '';
    const parts = option.many ? said.split(option.secret ? BEFORE_SCHEME : ',') : [said];
    const variable = parts.map((part) => part.trim()).filter((part) => part !== '');
    if (flags) given.set(name, { source: `--${option.flag}`, values: option.many ? flags : flags.slice(-1) });
    else if (variable.length > 0) given.set(name, { source: option.env, values: variable });
    else if (option.fallback !== undefined) given.set(name, { source: `--${option.flag}`, values: [option.fallback] });
  }
  return { given, faults, wanted: flagAndVariable };
}

function flagAndVariable(name: string): string {
  const option = optionOf(name);
  return option === undefined ? name : `--${option.flag} or ${option.env}`;
}

/** Takes options as an object holds them; what is undefined says nothing. */
export function readObject(options: Readonly<Record<string, unknown>>): Read {
  const given = new Map<string, Given>();
  const faults = Object.keys(options)
    .filter((name) => !Object.hasOwn(OPTIONS, name))
    .map((name) => `${name}: unknown option`);
  for (const [name, option] of Object.entries<Option>(OPTIONS)) {
    const value = options[name];
    const fault = value === undefined ? undefined : faultOf(value, option.many === true);
    if (fault !== undefined) faults.push(`${name}: ${fault}`);
    // Of what is no value nothing more is to be said.
    const otherwise = option.fallback === undefined ? undefined : [option.fallback];
    const said = fault === undefined ? [value].flat().map(written) : option.many ? [] : otherwise;
    const values = value === undefined ? otherwise : said;
    if (values !== undefined) given.set(name, { source: name, values });
  }
  return { given, faults, wanted: (name) => name };
}

/** What cannot be written on the command line. */
function faultOf(value: unknown, many: boolean): string | undefined {
  const all: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (Array.isArray(value) && !many) return `expected one value, got ${all.length}`;
  if (all.length === 0) return 'expected at least one value, got none';
  const at = all.findIndex((one) => !['string', 'number', 'boolean'].includes(typeof one) && !(one instanceof URL));
  return at < 0 ? undefined : `expected text, a number or a boolean, got ${all[at] === null ? 'null' : typeof all[at]}`;
}

/** As it would be written on the command line. */
function written(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return String(value);
}

function readFlags(args: readonly string[]): { values: ReadonlyMap<string, string[]>; faults: string[] } {
  const options = Object.fromEntries([...BY_FLAG.keys()].map((flag) => [flag, { type: 'string' } as const]));
  const { tokens } = parseArgs({ args, options, strict: false, allowPositionals: true, tokens: true });
  const values = new Map<string, string[]>();
  const faults: string[] = [];
  let afterUnknown = -1;
  for (const token of tokens) {
    if (token.kind === 'option') {
      const name = BY_FLAG.get(token.name);
      if (name === undefined || !token.rawName.startsWith('--')) {
        faults.push(unknownFlag(token.rawName));
        afterUnknown = token.inlineValue ? -1 : token.index + 1;
      } else values.set(name, [...(values.get(name) ?? []), token.value ?? '']);
    } else if (token.kind === 'positional' && token.index !== afterUnknown) {
      faults.push(`${shown(token.value)}: expected a flag (a backend is given as --backend URL)`);
    }
  }
  return { values, faults };
}

function unknownFlag(flag: string): string {
  const near = nearest(
    flag,
    [...BY_FLAG.keys(), 'help', 'version'].map((known) => `--${known}`),
  );
  return `${masked(flag)}: unknown flag, ${near === undefined ? 'see --help' : `did you mean ${near}?`}`;
}

/** A value as a fault shows it: quoted, cut, without what may be a password; of a secret, its scheme. */
export function shown(value: string, secret = false): string {
  if (value === '') return 'nothing';
  return JSON.stringify(secret ? `${schemeOf(value)}…` : masked(value));
}

/** Cut, and what stands before an `@` hidden. */
function masked(value: string): string {
  const scheme = schemeOf(value);
  const rest = value.slice(scheme.length).replace(/^.*@/s, '***@');
  return scheme + (rest.length > 80 ? `${rest.slice(0, 80)}…` : rest);
}

function schemeOf(value: string): string {
  return /^[a-z][a-z\d+.-]*:\/\//i.exec(value)?.[0] ?? '';
}
