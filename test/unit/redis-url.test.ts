/** The URLs of Redis: what they say, and what is refused without being shown. */

import { describe, expect, test } from 'vitest';
import { readRedisUrls } from '../../proxy/redis-url.ts';

const at = (...hosts: string[]) =>
  hosts.map((host) => ({ host: host.replace(/:\d+$/, ''), port: Number(/\d+$/.exec(host)?.[0]) }));
const read = (...urls: string[]) => {
  const said = readRedisUrls(urls);
  return said.kind === 'address' ? said.address : said.expected;
};

describe('what is taken', () => {
  test.each<[string, string[], object]>([
    ['a server', ['redis://r'], { kind: 'single', db: 0, tls: false, hosts: at('r:6379') }],
    [
      'TLS, a user and a database',
      ['rediss://u:p%40%2F:@r.example.com:6380/2'],
      { kind: 'single', db: 2, tls: true, username: 'u', password: 'p@/:', hosts: at('r.example.com:6380') },
    ],
    [
      'a password alone',
      ['redis://:a,b@r/'],
      { kind: 'single', db: 0, tls: false, password: 'a,b', hosts: at('r:6379') },
    ],
    ['IPv6', ['redis://[::1]:7'], { kind: 'single', db: 0, tls: false, hosts: [{ host: '::1', port: 7 }] }],
    ['several are a cluster', ['redis://a:1', 'redis://b:2'], { kind: 'cluster', tls: false, hosts: at('a:1', 'b:2') }],
    [
      'one name for a cluster',
      ['rediss+cluster://:t@clustercfg.example.com'],
      { kind: 'cluster', tls: true, password: 't', hosts: at('clustercfg.example.com:6379') },
    ],
    [
      'sentinels',
      ['redis+sentinel://:p@s1,s2:7/main?password=q%26'],
      {
        kind: 'sentinel',
        db: 0,
        tls: false,
        name: 'main',
        password: 'p',
        sentinel: { password: 'q&' },
        hosts: at('s1:26379', 's2:7'),
      },
    ],
    [
      'sentinels, a URL each',
      ['REDISS+SENTINEL://s1/main/3', 'rediss+sentinel://s2/main/3'],
      { kind: 'sentinel', db: 3, tls: true, name: 'main', sentinel: {}, hosts: at('s1:26379', 's2:26379') },
    ],
  ])('%s', (_what, urls, expected) => {
    expect(read(...urls)).toEqual(expected);
  });
});

describe('what is refused', () => {
  test.each([
    'r:6379',
    'http://r',
    'redis://',
    'redis://a,b',
    'redis://r:0',
    'redis://r:65536',
    'redis://r/x',
    'redis://r?tls=1',
    'redis+cluster://r/1',
    'redis+sentinel://s',
    'redis+sentinel://s/main/x',
    'redis+sentinel://s/main?pass=x',
    'redis://:%zz@r',
    'redis+other://r',
    'rediss:r',
  ])('%s', (url) => {
    expect(read(url)).toMatch(/^a URL as in redis:/);
  });

  test.each([
    [['redis://a', 'rediss://b']],
    [['redis://:x@a', 'redis://:y@b']],
    [['redis+sentinel://a/one', 'redis+sentinel://b/two']],
    [['redis://a', 'redis+cluster://b']],
  ])('%s: one would not be as the other', (urls) => {
    expect(read(...urls)).toMatch(/^the same scheme/);
  });

  test('a database of a cluster', () => {
    expect(read('redis://a/1', 'redis://b/1')).toMatch(/^no database/);
  });
});
