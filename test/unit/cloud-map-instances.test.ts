/** How instances of Cloud Map are read into members. */

import { describe, expect, test } from 'vitest';
import { type Instance, newestAtEach, readInstances } from '../../proxy/backends/cloud-map-instances.ts';

const at = (host: string, port?: string): Instance['attributes'] => ({
  AWS_INSTANCE_IPV4: host,
  ...(port !== undefined && { AWS_INSTANCE_PORT: port }),
});
const instance = (id: string, attributes: Instance['attributes'], health = 'HEALTHY'): Instance => ({
  id,
  health,
  attributes,
});

/** As in `a http://10.0.0.1:3000`, and `(a) …` for one that is draining. */
const read = (instances: readonly Instance[], port?: number) =>
  readInstances(instances, port).members.map(({ id, origin, draining }) => `${draining ? `(${id})` : id} ${origin}`);

describe('an address', () => {
  test.each<[string, Instance['attributes'], string | undefined]>([
    ['with a port', at('10.0.0.1', '3000'), 'http://10.0.0.1:3000'],
    ['without one, as of an A record', at('10.0.0.1'), 'http://10.0.0.1:8080'],
    ['of IPv6', { AWS_INSTANCE_IPV6: '2001:DB8::0:1', AWS_INSTANCE_PORT: '1' }, 'http://[2001:db8::1]:1'],
    ['of both, IPv4 first', { ...at('10.0.0.1'), AWS_INSTANCE_IPV6: '::1' }, 'http://10.0.0.1:8080'],
    ['of IPv4 that is none', { ...at('web-1'), AWS_INSTANCE_IPV6: '::1' }, 'http://[::1]:8080'],
    ['that is none', at('10.0.0.1/x'), undefined],
    ['of IPv6 with a zone', { AWS_INSTANCE_IPV6: 'fe80::1%eth0' }, undefined],
    ['that is a name', { AWS_INSTANCE_CNAME: 'web' }, undefined],
    ['with a port that is none', at('10.0.0.1', '3000.5'), undefined],
    ['with the port 0', at('10.0.0.1', '0'), undefined],
    ['with a port that is too high', at('10.0.0.1', '65536'), undefined],
    ['with an empty port', at('10.0.0.1', ''), undefined],
  ])('%s', (_what, attributes, origin) => {
    expect(read([instance('a', attributes)], 8080)).toEqual(origin === undefined ? [] : [`a ${origin}`]);
  });

  test('without any port says where to set it', () => {
    const { members, fault } = readInstances(
      [instance('b', at('10.0.0.2', '1')), instance('a', at('10.0.0.1'))],
      undefined,
    );
    expect(members.map(({ id }) => id)).toEqual(['b']);
    expect(fault).toBe(
      'the Cloud Map instance "a" has no AWS_INSTANCE_PORT: give the port as --backend-port or BACKEND_PORT',
    );
  });

  test.each(['', 'a b', 'a\r\nx', 'ä'])('of the id %j cannot be used', (id) => {
    expect(readInstances([instance(id, at('10.0.0.1', '1'))], undefined)).toEqual({
      members: [],
      fault: `the Cloud Map instance ${JSON.stringify(id)} has an id that no header can carry`,
    });
  });
});

test('a zone is the attribute, an id is opaque', () => {
  const attributes = { ...at('10.0.0.1', '1'), AVAILABILITY_ZONE: 'eu-west-1b' };
  expect(readInstances([instance('x/y:z@1', attributes)], undefined).members).toMatchObject([
    { id: 'x/y:z@1', zone: 'eu-west-1b' },
  ]);
});

describe('health', () => {
  const [a, b] = [at('10.0.0.1', '1'), at('10.0.0.2', '1')];
  test.each([
    ['HEALTHY', 'HEALTHY', ['a', 'b']],
    ['HEALTHY', 'UNHEALTHY', ['a', '(b)']],
    ['UNKNOWN', 'UNHEALTHY', ['a', '(b)']],
    ['UNHEALTHY', 'UNHEALTHY', ['a', 'b']],
  ])('%s and %s', (one, other, ids) => {
    expect(read([instance('a', a, one), instance('b', b, other)]).map((text) => text.split(' ')[0])).toEqual(ids);
  });

  test('of one that cannot be used does not count', () => {
    expect(read([instance('a', a, 'UNHEALTHY'), instance('b', at('10.0.0.2'))])).toEqual(['a http://10.0.0.1:1']);
  });
});

test('of two at one address the one that came last is there, for as long as both are named', () => {
  const newest = newestAtEach();
  const ids = (...members: string[]) =>
    newest(members.map((one) => ({ id: one.split('@')[0]!, origin: `http://${one.split('@')[1]}` })))
      .map(({ id }) => id)
      .join(' ');
  expect(ids('a@1', 'b@2')).toBe('a b');
  expect(ids('a@1', 'c@1', 'b@2')).toBe('c b');
  expect(ids('b@2', 'c@1', 'a@1')).toBe('b c');
  expect(ids('b@2', 'a@1')).toBe('b a');
  expect(ids('a@2', 'b@2')).toBe('a');
});

test('two that are seen first together at one address are both believed', () => {
  const newest = newestAtEach();
  const two = ['a', 'b'].map((id) => ({ id, origin: 'http://1' }));
  expect(newest(two)).toHaveLength(2);
  expect(newest(two)).toHaveLength(2);
});
