/** Addresses that stand for no server, however they are written, and the proxy's own. */

import { describe, expect, test } from 'vitest';
import { addressFault, isOwn, oddityOf } from '../../proxy/addresses.ts';

test.each([
  ['0.0.0.0', 'unspecified'],
  ['0.255.255.255', 'unspecified'],
  ['::', 'unspecified'],
  ['0:0:0:0:0:0:0:0', 'unspecified'],
  ['127.0.0.1', 'loopback'],
  ['127.255.255.254', 'loopback'],
  ['::1', 'loopback'],
  ['::ffff:127.0.0.1', 'loopback'],
  ['::FFFF:7f00:1', 'loopback'],
  ['169.254.0.1', 'link-local'],
  ['fe80::1%eth0', 'link-local'],
  ['febf::1', 'link-local'],
  ['64:ff9b::169.254.169.254', 'link-local'],
  ['224.0.0.1', 'multicast'],
  ['239.255.255.255', 'multicast'],
  ['ff05::2', 'multicast'],
  ['255.255.255.255', 'broadcast'],
  ['10.0.0.7', undefined],
  ['128.0.0.1', undefined],
  ['126.255.255.255', undefined],
  ['169.253.255.255', undefined],
  ['240.0.0.1', undefined],
  ['fec0::1', undefined],
  ['fd00::1', undefined],
  ['2001:db8::1', undefined],
  ['::ffff:10.0.0.7', undefined],
  ['1.0.0.0', undefined],
  ['mcp.internal', undefined],
  ['256.0.0.1', undefined],
  ['::zz', undefined],
])('%s is %s', (host, oddity) => {
  expect(oddityOf(host)).toBe(oddity);
});

describe('the proxy’s own address', () => {
  const machine = () => ['10.0.0.5', 'fd00::5', '127.0.0.1'];
  test.each([
    ['http://10.0.0.5:8080', '0.0.0.0', true],
    ['http://[fd00:0::5]:8080', '::', true],
    ['http://[::ffff:10.0.0.5]:8080', '::', true],
    ['http://127.0.0.9:8080', '::', true],
    ['https://10.0.0.5:8080', '10.0.0.5', true],
    ['http://localhost:8080', '127.0.0.1', true],
    ['http://127.0.0.1:8080', 'localhost', true],
    ['http://10.0.0.5:8081', '0.0.0.0', false],
    ['http://10.0.0.6:8080', '0.0.0.0', false],
    ['http://127.0.0.2:8080', '127.0.0.1', false],
    ['http://10.0.0.5:8080', '127.0.0.1', false],
    ['http://proxy:8080', '0.0.0.0', false],
  ])('%s where it listens on %s: %s', (origin, host, own) => {
    expect(isOwn(origin, { host, port: 8080 }, machine)).toBe(own);
  });

  test('nobody knows it before a free port is found, and who listens nowhere has none', () => {
    const rules = { machine, allowLoopback: true };
    expect(addressFault('http://10.0.0.5:80', { ...rules, listening: { host: '0.0.0.0', port: 0 } })).toBeUndefined();
    expect(addressFault('http://10.0.0.5:80', { ...rules, listening: undefined })).toBeUndefined();
    expect(addressFault('http://10.0.0.5:80', { ...rules, listening: { host: '::', port: 80 } })).toBe(
      'it is where this proxy listens',
    );
  });
});
