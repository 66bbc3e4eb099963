/** What the library says of options that cannot be: every fault at once, by the name that it has in code. */

import { Registry } from 'prom-client';
import { describe, expect, test } from 'vitest';
import {
  type AffinityOptions,
  type Backends,
  ConfigurationError,
  createProxy,
  sessionAffinity,
} from '../../proxy/index.ts';

describe('a configuration that cannot be', () => {
  const backends = ['http://10.0.0.7:3000'];
  const own: Backends = { list: () => [], suspect() {}, onChange: () => () => {}, close: async () => {} };
  const taken = new Registry();
  /** As whoever writes no types may have it. */
  const fromScript = (json: string): AffinityOptions => JSON.parse(json);
  const fault = (build: () => unknown): string => {
    try {
      build();
    } catch (error) {
      return error instanceof ConfigurationError ? error.message : String(error);
    }
    return 'none';
  };

  test.each<[string, () => unknown, string]>([
    ['no options', () => createProxy(fromScript('null')), 'backends: expected at least one backend, got nothing'],
    ['nothing at all', () => createProxy({}), 'backends: expected at least one backend, got nothing'],
    [
      'a port of the middleware',
      () => sessionAffinity(Object.assign({ backends }, { port: 8080, path: '/mcp' })),
      'port: expected nothing with the middleware, which listens nowhere; path: expected nothing with the middleware, which listens nowhere',
    ],
    [
      'two ways of discovery',
      () => createProxy({ backends: own, dns: 'mcp.internal:3000' }),
      'dns: expected nothing with backends of your own',
    ],
    [
      'a short secret',
      () => sessionAffinity({ backends, secret: 'hush' }),
      'secret: expected 16 characters or more, the same in all tasks',
    ],
    [
      'no secret where there is nothing to make one of',
      () => sessionAffinity({ backends: own }),
      'secret: expected 16 characters or more, the same in all tasks',
    ],
    [
      'a list for what is one',
      () => createProxy({ backends, ...fromScript('{"holdSeconds":[5,6]}') }),
      'holdSeconds: expected one value, got 2',
    ],
    [
      'an empty list',
      () => createProxy({ backends, allowedHosts: [] }),
      'allowedHosts: expected at least one value, got none',
    ],
    [
      'an empty list of backends',
      () => createProxy({ backends: [] }),
      'backends: expected at least one value, got none',
    ],
    [
      'null',
      () => createProxy({ backends, ...fromScript('{"emf":null}') }),
      'emf: expected text, a number or a boolean, got null',
    ],
    [
      'a word that every object knows',
      () => createProxy({ backends, ...fromScript('{"constructor":1}') }),
      'constructor: unknown option',
    ],
    [
      'parts that cannot do what they must',
      () => createProxy({ backends, ...fromScript('{"sessions":{},"logger":{},"registry":{}}') }),
      'sessions: expected an object that has find, create, replace, end, onChange, countByBackend; logger: expected an object that has write; registry: expected an object that has registerMetric, removeSingleMetric, getSingleMetric, metrics',
    ],
    [
      'a registry that another proxy counts into',
      () => [createProxy({ backends, registry: taken }), createProxy({ backends, registry: taken })],
      'registry: expected one that holds no metrics of mcp-affinity yet; give each its own, and serve each at a path of its own',
    ],
  ])('%s', (_name, build, expected) => {
    expect(fault(build)).toBe(expected);
  });
});
