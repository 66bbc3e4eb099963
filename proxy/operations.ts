/** What the ops port consists of: each part of it is a router of its own. */
import type { Express } from 'express';
import { createOps } from './ops.ts';
import { createOrders } from './orders.ts';
import type { House } from './rooms.ts';
import type { TelemetryWithMetrics } from './telemetry/telemetry.ts';

/** `ready` is asked on each request: whether new exchanges should come to this proxy. */
export function createOperations(house: House, telemetry: TelemetryWithMetrics, ready: () => boolean): Express {
  return createOps({
    metrics: () => telemetry.metrics(),
    contentType: telemetry.contentType,
    ready,
    routers: [createOrders(house)],
  });
}
