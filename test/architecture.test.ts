/** The rules of the house hold for what is there, and are seen to fail for what must not be. */

import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { faultsOf, importsOf } from './house/architecture.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

test('the house is in order', () => {
  const paths = globSync('{proxy,server,client}/**/*.ts', { cwd: ROOT });
  const sources = paths.map((path) => ({ path, text: readFileSync(`${ROOT}${path}`, 'utf8') }));
  expect(sources.length).toBeGreaterThan(10);
  expect(faultsOf(sources)).toEqual([]);
});

test('imports are read in each of their forms', () => {
  const text = `
    import a from 'a';
    import { type B, type C } from 'types-1';
    import { type B, c } from "b";
    import type { D } from 'types-2';
    import {
      e,
    } from './e.ts';
    import * as f from 'f';
    export { g } from 'g';
    export type { H } from 'types-3';
    export * from 'i';
    import 'j';
    const k = await import('k');
    // import l from 'l';
    /** import m from 'm'; */
    const n = 'from';
  `;
  const found = importsOf(text);
  expect(found.filter(({ typesOnly }) => typesOnly).map(({ of }) => of)).toEqual(['types-1', 'types-2', 'types-3']);
  const whole = found.filter(({ typesOnly }) => !typesOnly).map(({ of }) => of);
  expect(whole.toSorted()).toEqual(['./e.ts', 'a', 'b', 'f', 'g', 'i', 'j', 'k']);
});

const file = (path: string, ...lines: string[]) => ({ path, text: ['/** A purpose. */', ...lines].join('\n') });
const imports = (path: string, of: string) => faultsOf([file(path, `import { x } from '${of}';`)]);
const importsTypes = (path: string, of: string) => faultsOf([file(path, `import type { X } from '${of}';`)]);

describe('who may import whom', () => {
  test.each([
    ['proxy/contract.ts', './sse.ts'],
    ['proxy/decide.ts', './telemetry/telemetry.ts'],
    ['proxy/decide.ts', 'undici'],
    ['proxy/sse.ts', 'node:fs'],
    ['proxy/sse.ts', 'node:net'],
    ['proxy/upstream.ts', './config.ts'],
    ['proxy/sessions/redis.ts', '../backends/static.ts'],
    ['proxy/sessions/redis.ts', '../router.ts'],
    ['proxy/migrate.ts', './upstream.ts'],
    ['proxy/migrate.ts', 'undici'],
    ['proxy/router.ts', './migrate.ts'],
    ['proxy/router.ts', 'express'],
    ['proxy/ops.ts', './telemetry/telemetry.ts'],
    ['proxy/app.ts', './main.ts'],
    ['proxy/main.ts', '../server/state.ts'],
    ['proxy/app.ts', '../test/house/x.ts'],
    ['server/state.ts', '../proxy/jsonrpc.ts'],
    ['server/demo/main.ts', '../../client/demo.ts'],
    ['client/demo.ts', '../proxy/contract.ts'],
    ['client/demo.ts', '../server/state.ts'],
  ])('%s may not import %s', (path, of) => {
    expect(imports(path, of)).toEqual([`${path}: may not import ${of}`]);
  });

  test.each([
    ['proxy/decide.ts', './upstream.ts'],
    ['proxy/upstream.ts', './telemetry/telemetry.ts'],
    ['proxy/migrate.ts', './router.ts'],
    ['proxy/router.ts', './app.ts'],
  ])('nor may %s know types of %s', (path, of) => {
    expect(importsTypes(path, of)).toEqual([`${path}: may not import ${of}`]);
  });

  test.each([
    ['proxy/decide.ts', './balance.ts'],
    ['proxy/sse.ts', 'node:buffer'],
    ['proxy/sessions/cached.ts', './lru.ts'],
    ['proxy/sessions/redis.ts', 'ioredis'],
    ['proxy/router.ts', './remember.ts'],
    ['proxy/app.ts', './router.ts'],
    ['proxy/app.ts', 'express'],
    ['proxy/main.ts', './sessions/redis.ts'],
    ['server/demo/main.ts', '../state.ts'],
    ['server/state.ts', '../proxy/contract.ts'],
    ['server/state.ts', '../proxy/sse.ts'],
  ])('%s may import %s', (path, of) => {
    expect(imports(path, of)).toEqual([]);
  });

  test.each([
    ['proxy/migrate.ts', './upstream.ts'],
    ['proxy/router.ts', './migrate.ts'],
    ['proxy/ops.ts', './telemetry/telemetry.ts'],
  ])('%s may know types of %s', (path, of) => {
    expect(importsTypes(path, of)).toEqual([]);
  });
});

describe('files', () => {
  test('have a level', () => {
    expect(faultsOf([file('proxy/dispatcher.ts')])).toEqual(['proxy/dispatcher.ts: is at no level']);
  });

  test.each(['server/utils.ts', 'server/http-helpers.ts', 'client/common/x.ts'])('are not called %s', (path) => {
    expect(faultsOf([file(path)])).toEqual([`${path}: a name that says nothing`]);
  });

  test('are short', () => {
    const lines = (count: number) => file('server/state.ts', ...Array.from({ length: count - 1 }, () => '//'));
    expect(faultsOf([lines(300)])).toEqual([]);
    expect(faultsOf([lines(301)])).toEqual(['server/state.ts: 301 lines, at most 300']);
  });

  test.each(["import 'x';\n", '// A purpose.\n', '/** no end */\n', '\n/** Too late. */\n'])(
    'begin with a purpose: %j',
    (text) => {
      expect(faultsOf([{ path: 'server/state.ts', text }])).toEqual([
        'server/state.ts: does not begin with a sentence of purpose',
      ]);
    },
  );

  test.each([
    '#!/usr/bin/env node\n/** A purpose. */\n',
    '/**\n * A purpose\n * on two lines.\n *\n * And more\n */\n',
  ])('as here: %j', (text) => {
    expect(faultsOf([{ path: 'server/state.ts', text }])).toEqual([]);
  });
});

describe('npm clients', () => {
  test('are used in one file each', () => {
    const use = "import { Redis } from 'ioredis';";
    expect(faultsOf([file('proxy/sessions/redis.ts', use), file('proxy/backends/drains.ts', use)])).toEqual([
      'ioredis: is the client of more than one file: proxy/sessions/redis.ts, proxy/backends/drains.ts',
    ]);
  });

  test('are one in a file', () => {
    expect(faultsOf([file('proxy/upstream.ts', "import { Pool } from 'undici';", "import { z } from 'zod';")])).toEqual(
      ['proxy/upstream.ts: has more than one npm client: undici, zod'],
    );
  });

  test('may be known by type anywhere that npm may', () => {
    const [own, other] = ["import { Redis } from 'ioredis';", "import type { Redis } from 'ioredis';"];
    expect(faultsOf([file('proxy/sessions/redis.ts', own), file('proxy/main.ts', other)])).toEqual([]);
  });
});
