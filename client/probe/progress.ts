/** How far the probe is, on stderr: a bar on a terminal, else a line every ten calls. */

/** What is known after a call. */
export type Standing = { readonly made: number; readonly failed: number; readonly task: string | undefined };

export type Progress = {
  /** A call has ended. */
  show(standing: Standing): void;
  /** Something to know at once. */
  say(text: string): void;
  /** Takes the bar away. */
  end(): void;
};

type Out = { readonly isTTY?: boolean; write(text: string): unknown };

const WIDTH = 30;
const EVERY = 10;
const CLEAR = '\r\u001B[K';

/** For a run of `calls` calls. */
export function createProgress(calls: number, out: Out): Progress {
  const clear = out.isTTY ? CLEAR : '';
  const end = () => void out.write(clear);
  const say = (text: string) => void out.write(`${clear}probe: ${text}\n`);
  return {
    end,
    say,
    show({ made, failed, task = 'no task' }) {
      const text = `${made} of ${calls} calls, ${failed} failed, ${task} answered last`;
      const full = Math.round((WIDTH * made) / calls);
      if (out.isTTY) out.write(`${CLEAR}[${'#'.repeat(full)}${'-'.repeat(WIDTH - full)}] ${text}`);
      else if (made % EVERY === 0) say(text);
    },
  };
}
