/** The Kubernetes manifests of the docs, and what the API's own schemas and types say of one. */

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Model } from '@kubernetes-models/base';
import * as apps from 'kubernetes-models/apps/v1';
import * as networking from 'kubernetes-models/networking.k8s.io/v1';
import * as policy from 'kubernetes-models/policy/v1';
import * as core from 'kubernetes-models/v1';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { REPOSITORY, ran } from './engine.ts';

const FOLDER = fileURLToPath(new URL('../../docs/kubernetes', import.meta.url));
/** Below node_modules, so that the types are found. */
const SCRATCH = fileURLToPath(new URL('../../node_modules/.cache/mcp-affinity-manifests', import.meta.url));

const MANIFEST = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
});
export type Manifest = z.infer<typeof MANIFEST>;

const MODELS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  v1: core,
  'apps/v1': apps,
  'policy/v1': policy,
  'networking.k8s.io/v1': networking,
};

export function manifests(): readonly Manifest[] {
  return readdirSync(FOLDER).flatMap((file) =>
    parseAllDocuments(readFileSync(join(FOLDER, file), 'utf8')).map((document) => {
      if (document.errors.length > 0) throw new Error(`${file}: ${document.errors.join()}`);
      return MANIFEST.parse(document.toJS());
    }),
  );
}

/** What the schema of its kind has against it; undefined when nothing. It lets unknown fields pass. */
export function schemaFault(manifest: Manifest): string | undefined {
  const model = MODELS[manifest.apiVersion]?.[manifest.kind];
  if (typeof model !== 'function') return `${manifest.apiVersion} ${manifest.kind}: not known`;
  try {
    const made: unknown = Reflect.construct(model, [manifest]);
    if (!(made instanceof Model)) return `${manifest.apiVersion} ${manifest.kind}: has no schema`;
    made.validate();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** What TypeScript has against them as values of the API's types, unknown fields above all; empty when nothing. */
export async function typeFaults(all: readonly Manifest[]): Promise<string> {
  mkdirSync(SCRATCH, { recursive: true });
  const file = join(SCRATCH, 'manifests.ts');
  const constants = all.map(
    (one, number) =>
      `export const _${number}: import('kubernetes-models/${one.apiVersion}').I${one.kind} = ${JSON.stringify(one)};`,
  );
  writeFileSync(file, `${constants.join('\n')}\n`);
  const flags = [
    '--ignoreConfig',
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    '--module',
    'nodenext',
    '--target',
    'esnext',
  ];
  const { code, out, err } = await ran(join(REPOSITORY, 'node_modules/.bin/tsc'), [...flags, file]);
  return code === 0 ? '' : out + err;
}
