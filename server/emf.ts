/** How many sessions this task holds, as a metric for CloudWatch to scale on. */

import { emfLines } from '../proxy/emf.ts';
import { timerMs } from './range.ts';

export type SessionMetricsOptions = {
  /** How many sessions the task holds now. */
  readonly sessions: () => number;
  /** The dimension `Service`: the same for all tasks that are scaled together, so that Average is over them. */
  readonly service: string;
  /** This task's id, told in each line; no dimension. */
  readonly task?: string;
  /** Seconds, 1 at least; 60 by default. */
  readonly everySeconds?: number;
  /** Takes each line, without line feed: stdout by default. */
  readonly write?: (line: string) => void;
};

/**
 * Writes `ActiveSessions` of the namespace `McpAffinity`, in the embedded metric format, until `close`, which writes once
 * more. Throws RangeError for seconds that are none.
 */
export function sessionMetrics(options: SessionMetricsOptions): { close(): void } {
  const { sessions, service, task, everySeconds = 60, write = toStdout } = options;
  const everyMs = timerMs('everySeconds', everySeconds, 1);
  let closed = false;
  function tell(): void {
    const counts = { ActiveSessions: [sessions()] };
    const about = task === undefined ? {} : { TaskId: task };
    for (const line of emfLines({ at: Date.now(), service, counts, about })) write(line);
  }
  const telling = setInterval(tell, everyMs).unref();
  return {
    close() {
      if (closed) return;
      closed = true;
      clearInterval(telling);
      tell();
    },
  };
}

function toStdout(line: string): void {
  process.stdout.write(`${line}\n`);
}
