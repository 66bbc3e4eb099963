/** The one way out: what happened becomes metrics and JSON log lines. */

import type { Telemetry } from '../events.ts';
import { type Emf, startEmf } from './emf.ts';
import { createLog, stdout } from './log.ts';
import type { Level, LogDestination } from './log.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics, Registry } from './metrics.ts';

export type TelemetryOptions = {
  readonly level: Level;
  readonly destination?: LogDestination | undefined;
  /** A new one by default. */
  readonly registry?: Registry | undefined;
  /** Writes metrics for CloudWatch among the log lines, under this name of the service. */
  readonly emf?: string | undefined;
  /** The line `listening` comes first: true by default. Who listens nowhere would wait for it for ever. */
  readonly listens?: boolean;
};

export type TelemetryWithMetrics = Telemetry & {
  /** The Prometheus text of everything counted, the process's own values included. */
  metrics(): Promise<string>;
  readonly contentType: string;
  /** Whom to ask, at each scrape, how many sessions live. */
  countSessions: Metrics['countSessions'];
  /** Whom to ask for each line of metrics how many sessions each backend holds. */
  countBackends: Emf['countBackends'];
  /** Writes what was counted for log lines, and the last line of metrics. */
  close(): void;
};

/**
 * Records into a registry of its own and writes JSON lines to `destination` (stdout, without delay). Where somebody
 * listens, the line `listening` is always written, and first. Session ids are shown as the first 8 hex digits of their
 * SHA-256, and never label a metric; nor does an address or a path.
 */
export function createTelemetry(options: TelemetryOptions): TelemetryWithMetrics {
  const metrics = createMetrics(options.registry);
  const destination = options.destination ?? stdout();
  const log = createLog({ level: options.level, destination, listens: options.listens ?? true });
  const write = (line: string): void => destination.write(line);
  const emf = options.emf === undefined ? undefined : startEmf({ service: options.emf, write });
  return {
    record(event) {
      try {
        metrics.count(event);
        emf?.count(event);
        log.record(event);
      } catch {
        // Neither a full disk nor a closed pipe may cost a client its answer.
      }
    },
    metrics: () => metrics.text(),
    contentType: metrics.contentType,
    countSessions: (read) => metrics.countSessions(read),
    countBackends: (read) => emf?.countBackends(read),
    close() {
      log.close();
      emf?.close();
    },
  };
}
