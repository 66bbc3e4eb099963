/** Whose word about a request's way a backend gets: the client's only as far as trusted proxies have vouched for it. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RawHeaders } from '../../proxy/contract.ts';
import { withForwarding } from '../../proxy/forwarded.ts';

const SEEN = { peer: '10.0.0.9', scheme: 'http', host: 'mcp.test:8080' } as const;

/** The fields by lower-case name; throws where one is there twice. */
function fields(headers: RawHeaders): Record<string, string> {
  const found: Record<string, string> = {};
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!.toLowerCase();
    if (name in found) throw new Error(`${name} is there twice`);
    found[name] = headers[at + 1]!;
  }
  return found;
}
const way = (came: Record<string, string>, hops: number, seen: Parameters<typeof withForwarding>[1] = SEEN) =>
  fields(withForwarding(Object.entries(came).flat(), seen, hops));

describe('with nobody trusted', () => {
  const OURS = {
    'x-forwarded-for': '10.0.0.9',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': 'mcp.test:8080',
    'x-forwarded-port': '8080',
    forwarded: 'for=10.0.0.9;proto=http;host="mcp.test:8080"',
  };

  test('what we saw is told', () => {
    expect(way({}, 0)).toEqual(OURS);
  });

  test('what the client wrote is dropped, relatives too; the rest stays in its order', () => {
    const came = {
      A: '1',
      'X-FORWARDED-FOR': '6.6.6.6',
      'x-forwarded-Proto': 'https',
      'X-Forwarded-Prefix': '/evil',
      'X-Real-IP': '6.6.6.6',
      'X-Original-URL': '/mcp',
      'X-Rewrite-Url': '/mcp',
      Forwarded: 'for=6.6.6.6',
      'X-Forwarder': '2',
    };
    expect(way(came, 0)).toEqual({ a: '1', 'x-forwarder': '2', ...OURS });
  });

  test.each([
    ['::ffff:10.0.0.9', '10.0.0.9', 'for=10.0.0.9'],
    ['2001:db8::1', '2001:db8::1', 'for="[2001:db8::1]"'],
    ['fe80::1%eth0', 'fe80::1', 'for="[fe80::1]"'],
    [undefined, 'unknown', 'for=unknown'],
  ])('the peer %s', (peer, address, node) => {
    const told = way({}, 0, { ...SEEN, peer, host: 'mcp.test' });
    expect(told['x-forwarded-for']).toBe(address);
    expect(told['forwarded']).toBe(`${node};proto=http;host=mcp.test`);
  });

  test.each([
    ['mcp.test', 'http', '80'],
    ['mcp.test', 'https', '443'],
    ['[::1]:3000', 'http', '3000'],
    ['[::1]', 'http', '80'],
    ['mcp.test:99999', 'http', '80'],
  ] as const)('Host %s over %s: port %s', (host, scheme, port) => {
    expect(way({}, 0, { ...SEEN, host, scheme })['x-forwarded-port']).toBe(port);
  });

  test.each([undefined, '', 'a"b', 'a, b', 'a;proto=https'])(
    'a Host that would need escaping is not told: %s',
    (host) => {
      const told = way({}, 0, { ...SEEN, host });
      expect(told['x-forwarded-host']).toBeUndefined();
      expect(told['forwarded']).toBe('for=10.0.0.9;proto=http');
    },
  );
});

describe('with trusted proxies', () => {
  test.each([
    [1, '6.6.6.6, 1.2.3.4', '1.2.3.4, 10.0.0.9'],
    [2, '6.6.6.6, 1.2.3.4,10.0.0.8', '1.2.3.4, 10.0.0.8, 10.0.0.9'],
    [5, '1.2.3.4', '1.2.3.4, 10.0.0.9'],
    [1, '', '10.0.0.9'],
    [2, 'a b, 1.2.3.4', 'unknown, 1.2.3.4, 10.0.0.9'],
    [3, '1.2.3.4:55, [2001:DB8::1]:55, [::1]', '1.2.3.4, 2001:db8::1, ::1, 10.0.0.9'],
    [4, '1.2.3, 1.2.3.256, :::, 01.2.3.4', 'unknown, unknown, unknown, unknown, 10.0.0.9'],
    [2, '1.1.1.1,, 2.2.2.2 ,', '1.1.1.1, 2.2.2.2, 10.0.0.9'],
  ])('of %i hops, X-Forwarded-For %j becomes %j', (hops, came, told) => {
    expect(way({ 'X-Forwarded-For': came }, hops)['x-forwarded-for']).toBe(told);
  });

  test('the list may be spread over lines', () => {
    const came = ['X-Forwarded-For', '6.6.6.6, 1.1.1.1', 'x-forwarded-for', '2.2.2.2'];
    expect(fields(withForwarding(came, SEEN, 2))['x-forwarded-for']).toBe('1.1.1.1, 2.2.2.2, 10.0.0.9');
  });

  test('scheme, host and port are what the outermost trusted hop saw', () => {
    const came = {
      'X-Forwarded-For': '6.6.6.6, 1.2.3.4, 10.0.0.8',
      'X-Forwarded-Proto': 'evil, HTTPS, http',
      'X-Forwarded-Host': 'evil.test, app.test, inner.test',
      'X-Forwarded-Port': '1, 8443, 80',
      'X-Forwarded-Prefix': '/app',
    };
    expect(way(came, 2)).toEqual({
      'x-forwarded-for': '1.2.3.4, 10.0.0.8, 10.0.0.9',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'app.test',
      'x-forwarded-port': '8443',
      'x-forwarded-prefix': '/app',
      forwarded: 'for=1.2.3.4;proto=https;host=app.test, for=10.0.0.8, for=10.0.0.9;proto=http;host="mcp.test:8080"',
    });
  });

  test('what it says wrongly, or not at all, is as we saw it', () => {
    const came = { 'X-Forwarded-Proto': 'gopher', 'X-Forwarded-Host': 'a b', 'X-Forwarded-Port': '0' };
    for (const told of [way(came, 1), way({ 'X-Forwarded-For': '' }, 1)]) {
      expect(told).toMatchObject({ 'x-forwarded-proto': 'http', 'x-forwarded-port': '8080' });
      expect(told['x-forwarded-host']).toBe('mcp.test:8080');
    }
  });

  test('the port follows the scheme and host that are believed', () => {
    expect(way({ 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'app.test' }, 1)['x-forwarded-port']).toBe('443');
  });

  test('Forwarded is read where no X-Forwarded-For came', () => {
    const came = { Forwarded: 'for=6.6.6.6, For="[2001:db8::1]:99";Proto=https ; host="app.test:444", for=10.0.0.8' };
    expect(way(came, 2)).toEqual({
      'x-forwarded-for': '2001:db8::1, 10.0.0.8, 10.0.0.9',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'app.test:444',
      'x-forwarded-port': '444',
      forwarded:
        'for="[2001:db8::1]";proto=https;host="app.test:444", for=10.0.0.8, for=10.0.0.9;proto=http;host="mcp.test:8080"',
    });
  });

  test.each([
    [{ 'x-forwarded-for': 'x:y@h/";proto=https;x="' }],
    [{ forwarded: 'for="x:y@h/, 1.2.3.4"' }],
    [{ 'x-forwarded-for': '1.2.3.4:5:6' }],
    [{ 'x-forwarded-for': '[::1' }],
  ])('what is no address, as %j, is unknown', (came) => {
    const told = way(came, 1);
    expect([told['x-forwarded-for'], told['forwarded']]).toEqual([
      'unknown, 10.0.0.9',
      'for=unknown;proto=http;host="mcp.test:8080", for=10.0.0.9;proto=http;host="mcp.test:8080"',
    ]);
  });

  test('a field as long as a head may be is read in one go', () => {
    // Where each blank is tried again for each other one, this takes many minutes.
    for (const odd of ['"x', '', ',']) {
      const forwarded = `for=1.2.3.4,${' '.repeat(60_000)}${odd}`;
      for (let turn = 0; turn < 100; turn += 1) expect(way({ forwarded }, 1)).toHaveProperty('forwarded');
    }
  });

  test('Forwarded is not read beside it: the client may have added what its hop does not set', () => {
    const came = { 'X-Forwarded-For': '1.2.3.4', Forwarded: 'for=6.6.6.6;proto=https;host=evil.test' };
    expect(way(came, 1)).toEqual(way({ 'X-Forwarded-For': '1.2.3.4' }, 1));
  });

  test.each(['for="', 'for=1.1.1.1, x="', 'for', '=', 'for=1.1.1.1 proto=http', 'for="a" "b"'])(
    'a Forwarded that is broken anywhere is not believed at all: %s',
    (start) => {
      expect(way({ Forwarded: `${start}, for=1.2.3.4;host="x.test"` }, 9)).toEqual(way({}, 0));
    },
  );
});

describe('laws', () => {
  /** Like the real thing, or nothing like it. */
  const word = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.constantFrom('unknown', '_x', 'https', 'for=1.2.3.4', 'for="[::1]:8"', '"', '\\', ';', ',', '=', ' ', '%', '['),
    fc.string(),
  );
  const value = fc.array(word, { maxLength: 6 }).map((words) => words.join(', '));
  const name = fc.constantFrom(
    'X-Forwarded-For',
    'x-forwarded-proto',
    'X-Forwarded-Host',
    'X-Forwarded-Port',
    'X-Forwarded-Server',
    'Forwarded',
    'X-Real-Ip',
  );
  const headers = fc.array(fc.tuple(name, value), { maxLength: 5 }).map((pairs) => pairs.flat());
  const seen = fc.record({
    peer: fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant(undefined)),
    scheme: fc.constantFrom('http', 'https'),
    host: fc.oneof(fc.domain(), fc.ipV4(), fc.string(), fc.constant(undefined)),
  });

  test('with nobody trusted nothing that the client wrote survives', () => {
    fc.assert(
      fc.property(headers, seen, (came, saw) => {
        expect(withForwarding(came, saw, 0)).toEqual(withForwarding([], saw, 0));
      }),
    );
  });

  test('of n trusted hops at most n entries of the client’s survive, and the last is ours', () => {
    fc.assert(
      fc.property(headers, seen, fc.integer({ min: 1, max: 32 }), (came, saw, hops) => {
        const told = withForwarding(came, saw, hops);
        const at = told.indexOf('X-Forwarded-For');
        const addresses = told[at + 1]!.split(', ');
        expect(addresses.length).toBeLessThanOrEqual(hops + 1);
        expect(addresses.at(-1)).toBe(withForwarding([], saw, 0)[1]);
      }),
    );
  });

  test('what is told can be read, and both ways of telling it agree', () => {
    const NODE =
      /^for=(?:"\[([\da-f:.]+)\]"|([\d.]+|unknown))(?:;proto=(https?)(?:;host=(?:"([^"\\]+)"|([\w.-]+)))?)?$/;
    fc.assert(
      fc.property(headers, seen, fc.integer({ min: 0, max: 32 }), (came, saw, hops) => {
        const told = fields(
          withForwarding(came, saw, hops).filter((_field, at, all) => !/server|real/i.test(all[at - (at % 2)]!)),
        );
        const elements = told['forwarded']!.split(', ').map((element) => NODE.exec(element));
        expect(elements).not.toContain(null);
        expect(elements.map((element) => element?.[1] ?? element?.[2]).join(', ')).toBe(told['x-forwarded-for']);
        expect(elements[0]?.[3]).toBe(told['x-forwarded-proto']);
        expect(elements[0]?.[4] ?? elements[0]?.[5]).toBe(told['x-forwarded-host']);
        expect(told['x-forwarded-port']).toMatch(/^\d{1,5}$/);
      }),
    );
  });
});
