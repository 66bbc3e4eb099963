/** What the probe takes on its command line, and what it says of what it does not take. */

import { describe, expect, test } from 'vitest';
import { helpOf, parseProbe } from '../../client/probe/options.ts';

const URL_OF = 'http://127.0.0.1:8080/mcp';
const at = (...args: string[]) => parseProbe(['--endpoint', URL_OF, ...args]);
const optionsOf = (...args: string[]) => {
  const parsed = at(...args);
  if (parsed.kind !== 'options') throw new Error(`Expected options, got ${JSON.stringify(parsed)}`);
  return parsed.options;
};
const faultsOf = (parsed: ReturnType<typeof parseProbe>) => (parsed.kind === 'faults' ? parsed.faults : []);

const HELP = helpOf('npm run probe --');

describe('what is taken', () => {
  test('the endpoint alone, and the defaults', () => {
    const { endpoint, ...others } = optionsOf();
    expect(endpoint.href).toBe(URL_OF);
    expect(others).toEqual({
      calls: 70,
      delay: 2,
      timeout: 60,
      out: undefined,
      headers: [],
      check: false,
      json: false,
    });
  });

  test('everything', () => {
    const headers = ['--header', 'Authorization: Bearer a:b', '--header', 'X-Tenant:  blue '];
    const given = optionsOf('--calls', '7', '--delay=0', '--timeout', '1.5', '--out', '-', ...headers);
    expect(given).toMatchObject({ calls: 7, delay: 0, timeout: 1.5, out: '-', check: false });
    expect(given.headers).toEqual([
      ['Authorization', 'Bearer a:b'],
      ['X-Tenant', 'blue'],
    ]);
  });

  test('a check, which has less time', () => {
    expect(optionsOf('--check')).toMatchObject({ check: true, timeout: 10 });
    expect(optionsOf('--check', '--timeout', '3')).toMatchObject({ timeout: 3 });
  });

  test('the endpoint without its flag', () => {
    for (const args of [
      [URL_OF, '--check'],
      ['--check', URL_OF],
    ]) {
      expect(parseProbe(args)).toMatchObject({ options: { endpoint: new URL(URL_OF), check: true } });
    }
  });

  test('the last of a flag given twice', () => {
    expect(optionsOf('--calls', '1', '--calls', '2').calls).toBe(2);
  });

  test.each([['-h'], ['--help']])('%s, whatever else is wrong', (flag) => {
    expect(parseProbe(['--calls', 'x', flag])).toEqual({ kind: 'help' });
  });
});

describe('what is not taken', () => {
  test.each([
    [['--calls', '0'], '--calls: expected a whole number from 1 to 1000000, as in --calls 70, got "0"'],
    [['--calls', '1.5'], '--calls: expected a whole number from 1 to 1000000, as in --calls 70, got "1.5"'],
    [['--calls'], '--calls: expected a whole number from 1 to 1000000, as in --calls 70, got nothing'],
    [['--delay', '-1'], '--delay: expected seconds from 0 to 3600, as in --delay 2, got "-1"'],
    [['--delay', '1e9'], '--delay: expected seconds from 0 to 3600, as in --delay 2, got "1e9"'],
    [['--timeout', '0'], '--timeout: expected seconds from 0.1 to 3600, as in --timeout 60, got "0"'],
    [['--out', ''], '--out: expected a file, or - for stdout, as in --out probe.jsonl, got nothing'],
    [['--check=yes'], '--check: expected no value, got "yes": leave it out'],
    [['--check', '--calls', '5'], '--calls: got "5", but --check makes no calls: leave one out'],
    [['--cals', '5'], '--cals: unknown flag, see --help'],
    [['5'], '"5": expected a flag, as there is an endpoint'],
  ])('%j', (args, fault) => {
    expect(at(...args)).toEqual({ kind: 'faults', faults: [fault] });
  });

  test.each(['Authorization hunter2', ': hunter2', 'a b: hunter2', 'hunter2:', 'a: hunter2\n'.repeat(2)])(
    'a header %j, which is not shown',
    (header) => {
      expect(faultsOf(at('--header', header))).toEqual([
        "--header: expected a name and a value, as in --header 'Authorization: Bearer …', " +
          'got something else (not shown: it may be a secret)',
      ]);
    },
  );

  test.each([
    [[], 'got nothing'],
    [['--endpoint', 'mcp.example.com'], 'got "mcp.example.com"'],
    [['--endpoint', 'ftp://a/mcp'], 'got "ftp://a/mcp"'],
  ])('an endpoint: %j', (args, got) => {
    const example = 'as in --endpoint http://127.0.0.1:8080/mcp';
    expect(faultsOf(parseProbe(args))).toEqual([`--endpoint: expected a URL of http or https, ${example}, ${got}`]);
  });

  test('a password in the endpoint, which is not shown', () => {
    expect(faultsOf(parseProbe(['--endpoint', 'http://me:hunter2@a/mcp']))).toEqual([
      `--endpoint: expected no user and password in "http://***@a/mcp": give them as --header 'Authorization: …'`,
    ]);
  });

  test('all faults at once', () => {
    const faults = faultsOf(parseProbe(['--calls', 'x', '--delay', 'y', '--header', 'z', '--wat']));
    expect(faults.map((fault) => fault.split(':')[0])).toEqual([
      '--wat',
      '--endpoint',
      '--calls',
      '--delay',
      '--header',
    ]);
  });
});

test('the help names each flag, and is no wider than a terminal may be', () => {
  for (const flag of ['endpoint', 'calls', 'delay', 'timeout', 'out', 'header', 'check', 'json', 'help']) {
    expect(HELP).toContain(`--${flag} `.trimEnd());
  }
  expect(HELP.split('\n').filter((line) => line.length > 120)).toEqual([]);
});
