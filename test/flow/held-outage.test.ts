/** Redis is away and a home dies meanwhile: its sessions are held until Redis is back, as for any other wait. */

import { afterEach, describe, expect, test } from 'vitest';
import { rawCall, rawOpen, rawPing } from '../house/by-hand.ts';
import { type Flow, startFlow } from '../house/flow.ts';
import { soon, until } from '../house/until.ts';

let flow: Flow | undefined;
afterEach(() => flow?.close());

const isDown = ({ events }: Flow) => events().some((event) => event.type === 'registry' && event.state === 'down');

describe.each([
  ['hangs', async (begun: Flow) => begun.redis().pause(), async (begun: Flow) => begun.redis().resume()],
  ['is gone', (begun: Flow) => begun.redis().kill9(), (begun: Flow) => begun.redis().start()],
])('Redis %s', (_name, leave, comeBack) => {
  async function lose(holdSeconds: number) {
    const begun = await startFlow({ backends: ['a', 'b'], redis: true, flags: ['--hold-seconds', `${holdSeconds}`] });
    flow = begun;
    const { id } = await rawOpen(begun.url);
    const [, home = ''] = /taskId=(\w)/.exec(await rawCall(begun.url, id, 'ping')) ?? [];
    await leave(begun);
    await begun.kill(home);
    return { begun, id, next: home === 'a' ? 'b' : 'a' };
  }

  test('the call is answered by a new home once Redis is back', async () => {
    const { begun, id, next } = await lose(20);
    const call = rawCall(begun.url, id, 'counter');
    call.catch(() => {});
    await until('the proxy has seen it', () => isDown(begun));
    await comeBack(begun);
    expect(await soon('an answer', call)).toBe(`counter=1 taskId=${next}`);
  });

  test('it is refused when it has been held for --hold-seconds, and not before', async () => {
    const { begun, id } = await lose(2);
    const start = performance.now();
    const { status, headers } = await soon('a refusal', rawPing(begun.url, id));
    expect([status, headers.get('retry-after')]).toEqual([503, '1']);
    expect(performance.now() - start).toBeGreaterThan(1_900);
    await comeBack(begun);
  });
});
