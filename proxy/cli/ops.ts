/** The ops port as the commands ask it. */

import type { z } from 'zod';
import type { Args, Flags } from './args.ts';
import { EXIT } from './exit.ts';
import { ERROR } from './shapes.ts';

/** What every command that asks it takes. */
export const OPS_FLAGS = { ops: 'text', 'ops-token': 'text', json: 'switch' } as const satisfies Flags;

export const OPS_HELP = `  --ops URL           the ops port [OPS_URL, else http://127.0.0.1:9464, or the port in OPS_PORT]
  --ops-token TOKEN   its token, where it has one [OPS_TOKEN, which is better: others see flags]
  --json              the answer as JSON
`;

/** It went wrong: a sentence, and the exit code. */
export type Trouble = { readonly kind: 'trouble'; readonly says: string; readonly exit: number };
export type Got<T> = { readonly kind: 'got'; readonly value: T } | Trouble;

export interface Ops {
  readonly url: string;
  /** `also` is a status that means success beside those that do. */
  ask<T>(method: 'GET' | 'POST' | 'DELETE', path: string, shape: z.ZodType<T>, also?: number): Promise<Got<T>>;
  text(path: string): Promise<Got<string>>;
}

/** Milliseconds: what does not answer by then will not. */
const ANSWER_MS = 10_000;

type Env = Readonly<Record<string, string | undefined>>;

export function openOps(args: Args, env: Env): Got<Ops> {
  const from = (name: string): string | undefined => env[name]?.trim() || undefined;
  const given = args.text('ops') ?? from('OPS_URL') ?? `http://127.0.0.1:${from('OPS_PORT') ?? '9464'}`;
  const token = args.text('ops-token') ?? from('OPS_TOKEN');
  const url = URL.parse(given);
  const usage = (says: string): Trouble => ({ kind: 'trouble', says, exit: EXIT.usage });
  if (url === null || !/^https?:$/.test(url.protocol)) {
    return usage('--ops or OPS_URL: expected a URL of http or https, as in http://127.0.0.1:9464');
  }
  if (url.username !== '' || url.password !== '') return usage('--ops or OPS_URL: give the token as OPS_TOKEN instead');
  return { kind: 'got', value: createOps(`${url.origin}${url.pathname.replace(/\/+$/, '')}`, token) };
}

function createOps(url: string, token: string | undefined): Ops {
  async function send(method: string, path: string): Promise<Got<Response>> {
    const headers = {
      ...(method === 'POST' && { 'content-type': 'application/json' }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    };
    try {
      const signal = AbortSignal.timeout(ANSWER_MS);
      return { kind: 'got', value: await fetch(url + path, { method, headers, signal, redirect: 'error' }) };
    } catch (error) {
      return { kind: 'trouble', says: `${url} cannot be reached: ${whyOf(error)}`, exit: EXIT.failed };
    }
  }
  return {
    url,
    async ask(method, path, shape, also) {
      const got = await send(method, path);
      if (got.kind === 'trouble') return got;
      const { status, ok } = got.value;
      const body: unknown = await got.value.json().catch(() => undefined);
      if (!ok && status !== also) return refused(url, status, ERROR.safeParse(body).data?.error);
      const read = shape.safeParse(body);
      if (read.success) return { kind: 'got', value: read.data };
      return { kind: 'trouble', says: `${url} does not answer as an ops port does (${path})`, exit: EXIT.failed };
    },
    async text(path) {
      const got = await send('GET', path);
      if (got.kind === 'trouble') return got;
      const text = await got.value.text().catch(() => '');
      return got.value.ok ? { kind: 'got', value: text } : refused(url, got.value.status, undefined);
    },
  };
}

function refused(url: string, status: number, error: string | undefined): Trouble {
  const exit = status === 404 ? EXIT.unknown : EXIT.failed;
  const hint = status === 401 ? ' (set OPS_TOKEN)' : '';
  return { kind: 'trouble', says: `${error ?? `${url} answered ${status}`}${hint}`, exit };
}

function whyOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  if (error.name === 'TimeoutError') return `no answer within ${ANSWER_MS / 1000} s`;
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
}
