/** How many sessions this task holds, as a metric for CloudWatch to scale on. */

import { emfLines } from '../proxy/emf.ts';

export type SessionMetricsOptions = {
  /** How many sessions the task holds now. */
  readonly sessions: () => number;
  /** The dimension `Service`: the same for all tasks that are scaled together, so that Average is over them. */
  readonly service: string;
  /** This task's id, told in each line; no dimension. */
  readonly task?: string;
  /** Seconds; 60 by default. */
  readonly everySeconds?: number;
  /** Takes each line, without line feed: stdout by default. */
  readonly write?: (line: string) => void;
};

/** Writes `ActiveSessions` of the namespace `McpAffinity`, in the embedded metric format, until `close`, which writes once more. */
export function sessionMetrics(options: SessionMetricsOptions): { close(): void } {
  const { sessions, service, task, everySeconds = 60, write = toStdout } = options;
  let closed = false;
  function tell(): void {
    const counts = { ActiveSessions: [sessions()] };
    const about = task === undefined ? {} : { TaskId: task };
    for (const line of emfLines({ at: Date.now(), service, counts, about })) write(line);
  }
  const telling = setInterval(tell, everySeconds * 1_000).unref();
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
