/** The probe's flags: what they mean, and a sentence for each fault in what was given. */

import { parseArgs } from 'node:util';

/** What a run of the probe does. */
export type ProbeOptions = {
  readonly endpoint: URL;
  /** At least 1; 70 by default. */
  readonly calls: number;
  /** Seconds between two calls; 2 by default, may be 0. */
  readonly delay: number;
  /** Seconds: for each call 60 by default, for the whole of a check 10. */
  readonly timeout: number;
  /** A file, or `-` for stdout. */
  readonly out: string | undefined;
  /** Sent with every request. Their values are secrets. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Opens a session and ends it; makes no calls. */
  readonly check: boolean;
  /** A check's sentence as JSON; the summary of a run is JSON anyway. */
  readonly json: boolean;
};

export type ParsedProbe =
  | { readonly kind: 'help' }
  | { readonly kind: 'options'; readonly options: ProbeOptions }
  | { readonly kind: 'faults'; readonly faults: readonly string[] };

/** `called`: the command that it was called by. */
export const helpOf = (called: string): string => `Usage: ${called} URL [flags]

The survival probe: one unmodified MCP client keeps one session through a deployment of the sample server. Each call
writes a key and reads the whole state back. Defaults are in brackets.

  URL, or --endpoint URL   the MCP endpoint, http:// or https:// [required]
  --calls COUNT            how many calls [70]
  --delay SECONDS          the pause between two calls, 0 for none [2]
  --timeout SECONDS        how long a call may take [60]; with --check, the whole of it [10]
  --out FILE               a JSON line for every HTTP exchange; - is stdout [none]
  --header 'NAME: VALUE'   sent with every request, as in 'Authorization: Bearer …' (repeatable)
  --check                  only open a session, list the tools and end the session
  --json                   what --check says as JSON; the summary of a run is JSON anyway
  -h, --help               this text

The last line on stdout is the summary. Exit codes: 0 the session is complete (with --check: all three steps went
well), 1 it is not, 2 wrong usage.

Examples:
  ${called} https://mcp.example.com/mcp --calls 70 --delay 2 --out probe.jsonl
  ${called} http://127.0.0.1:8080/mcp --calls 1000 --delay 0
  ${called} https://mcp.example.com/mcp --check --timeout 5 --header "Authorization: Bearer $TOKEN"
`;

const FLAGS = {
  endpoint: { type: 'string' },
  calls: { type: 'string' },
  delay: { type: 'string' },
  timeout: { type: 'string' },
  out: { type: 'string' },
  header: { type: 'string' },
  check: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

const SWITCHES: ReadonlySet<string> = new Set(['check', 'json', 'help']);

const MOST_CALLS = 1_000_000;
const LONGEST = 3600;
/** What a check is done without. */
const FOR_CALLS = ['calls', 'delay'] as const;

/** Of a flag given twice the last counts, `--header` aside. All faults are reported at once; no header's value is shown. */
export function parseProbe(args: readonly string[]): ParsedProbe {
  const { given, faults } = read(args);
  if (given.has('help')) return { kind: 'help' };
  const check = given.has('check');
  const last = (flag: string) => given.get(flag)?.at(-1);
  const number = (flag: string, from: number, to: number, rule: RegExp, what: string, fallback: number) => {
    const text = last(flag);
    if (text === undefined) return fallback;
    const value = rule.test(text) ? Number(text) : Number.NaN;
    if (value >= from && value <= to) return value;
    faults.push(`--${flag}: expected ${what} from ${from} to ${to}, as in --${flag} ${fallback}, got ${shown(text)}`);
    return fallback;
  };

  const endpoint = endpointOf(last('endpoint'), faults);
  const calls = number('calls', 1, MOST_CALLS, /^\d+$/, 'a whole number', 70);
  const delay = number('delay', 0, LONGEST, /^\d+(\.\d+)?$/, 'seconds', 2);
  const timeout = number('timeout', 0.1, LONGEST, /^\d+(\.\d+)?$/, 'seconds', check ? 10 : 60);
  const out = last('out');
  if (out === '') faults.push('--out: expected a file, or - for stdout, as in --out probe.jsonl, got nothing');
  const headers = (given.get('header') ?? []).map((text) => headerOf(text, faults));
  for (const flag of check ? FOR_CALLS : []) {
    if (given.has(flag)) faults.push(`--${flag}: got ${shown(last(flag))}, but --check makes no calls: leave one out`);
  }
  if (!endpoint || faults.length > 0) return { kind: 'faults', faults };
  return {
    kind: 'options',
    options: { endpoint, calls, delay, timeout, out, headers, check, json: given.has('json') },
  };
}

function read(args: readonly string[]): { given: Map<string, string[]>; faults: string[] } {
  const parsing = { args: [...args], options: FLAGS, strict: false, allowPositionals: true, tokens: true } as const;
  const given = new Map<string, string[]>();
  const faults: string[] = [];
  let afterUnknown = -1;
  for (const token of parseArgs(parsing).tokens) {
    if (token.kind === 'positional' && token.index !== afterUnknown) {
      if (given.has('endpoint')) faults.push(`${shown(token.value)}: expected a flag, as there is an endpoint`);
      else given.set('endpoint', [token.value]);
    }
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    if (!Object.hasOwn(FLAGS, name)) {
      faults.push(`${rawName}: unknown flag, see --help`);
      afterUnknown = token.inlineValue ? -1 : token.index + 1;
    } else if (SWITCHES.has(name) && value !== undefined) {
      faults.push(`--${name}: expected no value, got ${shown(value)}: leave it out`);
    } else given.set(name, [...(given.get(name) ?? []), value ?? '']);
  }
  return { given, faults };
}

function endpointOf(text: string | undefined, faults: string[]): URL | undefined {
  const example = 'as in --endpoint http://127.0.0.1:8080/mcp';
  const url = URL.parse(text ?? '');
  if (!url || !/^https?:$/.test(url.protocol)) {
    faults.push(`--endpoint: expected a URL of http or https, ${example}, got ${shown(text)}`);
    return undefined;
  }
  if (url.username === '' && url.password === '') return url;
  faults.push(`--endpoint: expected no user and password in ${shown(text)}: give them as --header 'Authorization: …'`);
  return undefined;
}

function headerOf(text: string, faults: string[]): readonly [string, string] {
  const colon = text.indexOf(':');
  const header = [text.slice(0, Math.max(colon, 0)).trim(), text.slice(colon + 1).trim()] as const;
  try {
    if (header[1] !== '' && new Headers([[...header]]).has(header[0])) return header;
  } catch {
    // The fault is the same as for a header without a name or a value.
  }
  const got = text === '' ? 'nothing' : 'something else (not shown: it may be a secret)';
  faults.push(`--header: expected a name and a value, as in --header 'Authorization: Bearer …', got ${got}`);
  return header;
}

/** Quoted, cut, and without what may be a password. */
function shown(text = ''): string {
  const safe = text.replace(/\/\/.*@/s, '//***@');
  return text === '' ? 'nothing' : JSON.stringify(safe.length > 80 ? `${safe.slice(0, 80)}…` : safe);
}
