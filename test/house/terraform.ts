/** Terraform as the scripts run it, where it can be had, and what a test run of it made. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

export const TERRAFORM = fileURLToPath(new URL('../../terraform', import.meta.url));
/** The whole deployment, and its tests. */
export const EXAMPLE = 'examples/complete';
/** What run.sh ends with where Terraform cannot be had. */
const NOT_HERE = 75;
/** An init, a graph of a hundred resources, on a machine that is busy. Milliseconds. */
export const TERRAFORM_MS = 90_000;

export type Ran =
  | { readonly kind: 'ran'; readonly code: number; readonly out: string }
  | { readonly kind: 'none'; readonly why: string };

/** Runs it in `folder`, by the run.sh of the repository. */
export function terraform(folder: string, ...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    const options = { maxBuffer: 64 * 1024 * 1024, timeout: TERRAFORM_MS };
    const child = execFile(`${TERRAFORM}/run.sh`, [folder, ...args], options, (_error, out, err) => {
      const code = child.exitCode ?? 1;
      if (code === NOT_HERE) resolve({ kind: 'none', why: err.trim().split('\n').at(-1) ?? '' });
      else resolve({ kind: 'ran', code, out: out + err });
    });
  });
}

/** A resource with the values that it was made with. */
export type Resource = {
  readonly address: string;
  readonly type: string;
  readonly values: Readonly<Record<string, unknown>>;
};

type Module = {
  readonly resources?: readonly Resource[] | undefined;
  readonly child_modules?: readonly Module[] | undefined;
};
const RESOURCE = z.object({ address: z.string(), type: z.string(), values: z.record(z.string(), z.unknown()) });
const MODULE: z.ZodType<Module> = z.lazy(() =>
  z.object({ resources: z.array(RESOURCE).optional(), child_modules: z.array(MODULE).optional() }),
);
const STATE = z.object({ type: z.literal('test_state'), test_state: z.object({ root_module: MODULE }) });

export type Deployment =
  | { readonly kind: 'deployment'; readonly resources: readonly Resource[] }
  | { readonly kind: 'none'; readonly why: string };

/** The whole deployment, as Terraform would make it: the state that its tests apply to mocks. */
export async function planDeployment(): Promise<Deployment> {
  const ran = await terraform(
    `${TERRAFORM}/${EXAMPLE}`,
    'test',
    '-json',
    '-verbose',
    '-filter=tests/complete.tftest.hcl',
  );
  return ran.kind === 'none' ? ran : { kind: 'deployment', resources: resourcesOf(ran.out) };
}

function resourcesOf(out: string): readonly Resource[] {
  const line = out.split('\n').find((one) => one.includes('"type":"test_state"'));
  if (line === undefined) throw new Error(`no state in what Terraform said: ${out.slice(-2000)}`);
  const flatten = (module: Module): readonly Resource[] => [
    ...(module.resources ?? []),
    ...(module.child_modules ?? []).flatMap(flatten),
  ];
  return flatten(STATE.parse(JSON.parse(line)).test_state.root_module);
}
