/** What the evidence wants of an answer's body: the task that answered, and the words of a refusal. */

import { reasonOf } from './reason.ts';

/** Of an answer that has ended. */
export type Answer = {
  readonly task: string | undefined;
  /** Of a body that is no event stream: at most its first 64 KiB. */
  readonly text: string;
  /** Why it ended before its end; undefined where it did not. */
  readonly broken: string | undefined;
};

const LONGEST_TEXT = 65_536;

/** Reads to the end; an event stream is read event by event and not kept. Never rejects. */
export async function readAnswer(response: Response): Promise<Answer> {
  const streams = /^text\/event-stream\b/i.test(response.headers.get('content-type') ?? '');
  let task: string | undefined;
  let text = '';
  let broken: string | undefined;
  try {
    const chunks = response.body?.pipeThrough(new TextDecoderStream()) ?? [];
    for await (const chunk of chunks) {
      text += chunk;
      if (!streams) continue;
      const lines = text.split(/\r\n|\r|\n/);
      text = lines.pop() ?? '';
      for (const line of lines) if (line.startsWith('data:')) task = taskIn(line.slice(5)) ?? task;
    }
  } catch (error) {
    broken = `the answer broke off: ${reasonOf(error)}`;
  }
  if (streams) return { task, text: '', broken };
  return { task: taskIn(text), text: text.slice(0, LONGEST_TEXT), broken };
}

/** The sample server names its task in the facts of each tool's answer. */
function taskIn(json: string): string | undefined {
  try {
    const task = ['result', 'structuredContent', 'taskId'].reduce(member, JSON.parse(json));
    return typeof task === 'string' ? task : undefined;
  } catch {
    return undefined;
  }
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined;
}
