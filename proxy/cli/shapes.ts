/** What the commands read of the ops port's answers (docs/openapi.yaml). */

import { z } from 'zod';

export const BACKEND = z.object({
  id: z.string(),
  state: z.enum(['ready', 'suspect', 'draining']),
  sessions: z.number().nullable(),
  running: z.number(),
  zone: z.string().optional(),
  since: z.string().optional(),
  origin: z.string().optional(),
});

export const BACKENDS = z.object({
  backends: z.array(BACKEND),
  gone: z.array(z.object({ id: z.string(), sessions: z.number() })),
});
export type BackendsShown = z.infer<typeof BACKENDS>;

const NAMED = z.object({ name: z.string(), version: z.string() });
export const SESSION = z.object({
  session: z.string(),
  home: z.string(),
  epoch: z.number(),
  protocolVersion: z.string(),
  client: NAMED,
  server: NAMED,
  initialized: z.boolean(),
  subscriptions: z.number(),
  createdAt: z.string(),
  ageSeconds: z.number(),
  busyUntil: z.string().optional(),
});

export const DRAINING = z.object({ backend: z.string(), draining: z.boolean() });
export const ENDED = z.object({ session: z.string(), ended: z.literal(true), home: z.enum(['told', 'not told']) });
export const MIGRATES = z.object({ session: z.string(), migrates: z.string() });
export const ERROR = z.object({ error: z.string() });
export const READINESS = z.object({ status: z.enum(['ready', 'unavailable']) });
