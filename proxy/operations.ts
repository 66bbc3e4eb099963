/** What the ops port consists of: each part of it is a router of its own. */
import type { Express, Router } from 'express';
import type { Config } from './config.ts';
import { createBackendsApi } from './ops/backends.ts';
import { createConfigApi } from './ops/config.ts';
import { createSessionsApi } from './ops/sessions.ts';
import { createOps } from './ops.ts';
import type { House } from './rooms.ts';
import { readCursor } from './sessions/by-hash.ts';
import type { TelemetryWithMetrics } from './telemetry/telemetry.ts';

/** `ready` is asked on each request: whether new exchanges should come to this proxy. */
export function createOperations(
  config: Config,
  house: House,
  telemetry: TelemetryWithMetrics,
  more: readonly Router[],
  ready: () => boolean,
): Express {
  return createOps({
    metrics: () => telemetry.metrics(),
    contentType: telemetry.contentType,
    ready,
    rules: config,
    routers: [
      ...more,
      createBackendsApi({ ...house, telemetry }),
      createSessionsApi({ ...house, readCursor, telemetry, now: Date.now }),
      createConfigApi(config),
    ],
  });
}
