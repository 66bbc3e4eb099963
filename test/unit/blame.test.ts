/** Whose trouble a failed connection is, on machines with and without IPv6. */

import { describe, expect, test } from 'vitest';
import { findingOf, hasVanished } from '../../proxy/backends/checks.ts';
import { type OwnAddresses, blameOf } from '../../proxy/blame.ts';

const failed = (code: string, address: string) =>
  Object.assign(new Error(`connect ${code} ${address}:3000 - Local (:::0)`), { code, address });
const v4 = { family: 'IPv4', internal: false };
const without: OwnAddresses = () => ({ lo: [{ family: 'IPv4', internal: true }], eth0: [v4], eth1: undefined });
const inside: OwnAddresses = () => ({ lo: [{ family: 'IPv6', internal: true }], eth0: [v4] });
const unknown: OwnAddresses = () => {
  throw new Error('uv_interface_addresses returned Unknown system error 97');
};
const both: OwnAddresses = () => ({ eth0: [v4, { family: 'IPv6', internal: false }] });

describe.each([
  ['EADDRNOTAVAIL', '2001:db8::2', 'a machine without IPv6', without, 'silent'],
  ['EADDRNOTAVAIL', '2001:db8::2', 'a machine with IPv6 inside only', inside, 'silent'],
  ['EADDRNOTAVAIL', '::1', 'a machine without IPv6', without, 'silent'],
  ['EADDRNOTAVAIL', '::1', 'a machine with IPv6 inside only', inside, 'unknown'],
  ['EADDRNOTAVAIL', '2001:db8::2', 'a machine with IPv6', both, 'unknown'],
  ['EADDRNOTAVAIL', '2001:db8::2', 'a machine that does not tell', unknown, 'unknown'],
  ['EADDRNOTAVAIL', '10.0.0.2', 'a machine without IPv6', without, 'unknown'],
  ['EAFNOSUPPORT', '2001:db8::2', 'a kernel without IPv6', without, 'silent'],
  ['EMFILE', '2001:db8::2', 'a machine without IPv6', without, 'unknown'],
])('%s towards %s from %s', (code, address, _machine, own, kind) => {
  const cause = failed(code, address);
  test(`is ${kind === 'silent' ? 'no way there' : 'our own trouble'}`, () => {
    expect(findingOf(cause, own)).toEqual(kind === 'silent' ? { kind, cause: code } : { kind });
    expect(blameOf(cause, own)).toBe(kind === 'silent' ? 'backend' : 'ours');
    expect(hasVanished(cause, own)).toBe(kind === 'silent');
  });
});
