/** The sample server with tools whose runs can be counted from outside, in a file that outlives a kill -9. */

import { appendFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { DemoOptions } from '../../server/demo/app.ts';
import { serve } from '../../server/demo/serve.ts';
import { answer } from '../../server/demo/tools.ts';

const ledger = process.env['LEDGER'];
if (ledger === undefined) throw new Error('LEDGER: expected a file, got nothing');

/** `effect` must never run twice; `safe_effect` says that it may. Both write their line before anything else. */
const offerEffects: DemoOptions['extend'] = (server, task) => {
  const inputSchema = { key: z.string().regex(/^[^\t\n]+$/), ms: z.int().min(0).default(0) };
  const run = async ({ key, ms }: { key: string; ms: number }) => {
    appendFileSync(ledger, `${key}\t${task.id}\n`);
    if (ms > 0) await delay(ms);
    return answer(task, `effect=${key}`, { key });
  };
  server.registerTool('effect', { inputSchema }, run);
  server.registerTool('safe_effect', { inputSchema, annotations: { idempotentHint: true } }, run);
};

process.exitCode = await serve(process.env, offerEffects);
