/** Those who watch: each second all of them get the status as it is then, and nothing is made when there is nobody. */

import type { ServerResponse } from 'node:http';
import { renderMain } from './page.ts';
import type { Notice, Status } from './snapshot.ts';

/** `page`: the changing part of the page as HTML. `status`: the value. */
export type View = 'page' | 'status';

export interface Live {
  /** Answers with an event stream until the viewer leaves; false when too many watch already. */
  show(response: ServerResponse, view: View): boolean;
  close(): void;
}

const EVERY_MS = 1_000;
/** A status of a big house is some 100 KB: what is sent must stay small beside what is served. */
const MOST_VIEWERS = 32;

type Viewer = { readonly response: ServerResponse; readonly view: View; heard: Notice | undefined };

/** `look` never rejects. */
export function newLive(look: () => Promise<Status>): Live {
  const viewers = new Set<Viewer>();
  let timer: NodeJS.Timeout | undefined;
  let looking = false;

  async function tell(): Promise<void> {
    if (looking) return;
    looking = true;
    const status = await look();
    looking = false;
    const frames = new Map<View, string>();
    for (const viewer of viewers) {
      const { response, view } = viewer;
      // One that reads slowly sees fewer of them, each as good as the last.
      if (response.writableNeedDrain) continue;
      const frame = frames.get(view) ?? frameOf(view, status);
      frames.set(view, frame);
      response.write(frame + newsFor(viewer, status.notices));
    }
  }
  function leave(viewer: Viewer): void {
    viewers.delete(viewer);
    if (viewers.size === 0) clearInterval(timer);
  }

  return {
    show(response, view) {
      if (viewers.size >= MOST_VIEWERS) return false;
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' });
      response.flushHeaders();
      const viewer: Viewer = { response, view, heard: undefined };
      viewers.add(viewer);
      if (viewers.size === 1) timer = setInterval(() => void tell(), EVERY_MS).unref();
      response.once('close', () => leave(viewer));
      void tell();
      return true;
    },
    close() {
      clearInterval(timer);
      for (const { response } of viewers) response.end();
    },
  };
}

function frameOf(view: View, status: Status): string {
  return view === 'page' ? event('page', renderMain(status).html) : event('status', status);
}

/** The notices since the viewer's last frame, the oldest first; those from before it came stand in its first. */
function newsFor(viewer: Viewer, notices: readonly Notice[]): string {
  const [newest] = notices;
  const { heard } = viewer;
  viewer.heard = newest ?? { at: 0, text: '' };
  if (heard === undefined) return '';
  const known = notices.indexOf(heard);
  const news = known === -1 ? notices : notices.slice(0, known);
  return news
    .map((notice) => event('notice', notice))
    .toReversed()
    .join('');
}

function event(name: string, data: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
