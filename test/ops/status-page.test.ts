/** The status page in a real browser: watched through a drain, by mouse and by keyboard, narrow, dark, without a script. */

import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type Tab, audit, openTab, startBrowser } from '../house/browser.ts';
import { type Flow, type FlowOptions, startFlow, startProxy } from '../house/flow.ts';
import { freePort } from '../house/redis.ts';
import { until } from '../house/until.ts';

/** Of each look at the page, in milliseconds. */
const PATIENCE = 10_000;

let browser: Browser | undefined;
beforeAll(async () => {
  browser = await startBrowser();
}, 300_000);
afterAll(() => browser?.close());
beforeEach(({ skip }) => {
  if (browser === undefined) skip('there is no Chromium');
});

async function begin(options: FlowOptions = {}): Promise<Flow> {
  const flow = await startFlow(options);
  onTestFinished(() => flow.close());
  return flow;
}

async function tab(options: BrowserContextOptions = {}): Promise<Tab> {
  if (browser === undefined) throw new Error('No browser');
  const opened = await openTab(browser, options);
  opened.page.setDefaultTimeout(PATIENCE);
  onTestFinished(() => opened.close());
  return opened;
}

/** A tab that shows the status of the flow's first proxy, and is live unless it has no script. */
async function watch(flow: Flow, options: BrowserContextOptions = {}): Promise<Tab> {
  const opened = await tab(options);
  await opened.page.goto(flow.proxies[0]!.opsUrl);
  if (options.javaScriptEnabled !== false) await live(opened.page);
  return opened;
}

const live = (page: Page) => page.locator('#live', { hasText: /^live$/ }).waitFor();
const idOf = (flow: Flow, name: string) => new URL(flow.backend(name).origin).host;
const rowOf = (page: Page, id: string) => page.locator('.backends tbody tr', { hasText: id });
const buttonOf = (page: Page, id: string) => page.locator(`button[data-backend="${id}"]`);
const inState = (page: Page, id: string, state: string) =>
  rowOf(page, id)
    .locator('.state', { hasText: new RegExp(`^${state}$`) })
    .waitFor();
const focused = (page: Page) => page.evaluate('document.activeElement?.textContent.trim()');

/** Clients, each with a session. */
async function talks(flow: Flow, count: number) {
  return Promise.all(Array.from({ length: count }, () => flow.talk()));
}

test('says who is there, and the browser has nothing against it', async () => {
  const flow = await begin({ redis: true });
  await talks(flow, 3);
  const { page, complaints } = await watch(flow);
  for (const name of ['a', 'b', 'c']) await inState(page, idOf(flow, name), 'ready');
  await page.getByText('3 ready · 3 sessions').waitFor();
  expect(await page.locator('.vitals').innerText()).toMatch(/redis\s+up/);
  expect(await audit(page)).toEqual([]);
  expect(complaints).toEqual([]);
});

test('a script or a style within the page is not run', async () => {
  const { page, complaints } = await watch(await begin({ backends: ['a'] }));
  await page.evaluate(
    `document.body.insertAdjacentHTML('beforeend', '<p style="color:red" onclick="ran = true">x</p>')`,
  );
  await page.getByText('x', { exact: true }).click();
  expect(await page.evaluate('typeof ran')).toBe('undefined');
  expect(complaints).toHaveLength(2);
  for (const complaint of complaints) expect(complaint).toContain('Content Security Policy');
});

test('a backend drains before the eyes of who watches, while its sessions leave', async () => {
  const flow = await begin();
  const all = await talks(flow, 6);
  const home = await all[0]!.task('ping');
  const id = idOf(flow, home);
  const homes = await Promise.all(all.map((talk) => talk.task('ping')));
  const there = all.filter((_, at) => homes[at] === home);
  const running = there[0]!.call('effect', { key: 'long', ms: 3_000 });
  await flow.begun('long');
  const { page, complaints } = await watch(flow);

  await flow.drain(home);
  await inState(page, id, 'draining');
  expect(await page.locator('#said').textContent()).toContain('drains');
  // One of them is busy until its call is over.
  if (there.length > 1)
    await rowOf(page, id)
      .getByText(`${there.length - 1} of ${there.length} have left`)
      .waitFor();
  await running;
  await rowOf(page, id).getByText(`all ${there.length} have left`).waitFor();
  await page.locator('.notices', { hasText: `${id} is empty` }).waitFor();
  const moves = page.locator('.migrations tbody tr');
  await until('each migration has its row', async () => (await moves.count()) === there.length);
  expect(await moves.first().innerText()).toMatch(/drain\s+migrated/);
  expect(await audit(page)).toEqual([]);
  expect(complaints).toEqual([]);
});

describe('the drain button', () => {
  test('asks first, drains, and can be undone', async () => {
    const flow = await begin();
    const talk = await flow.talk();
    const home = await talk.task('ping');
    const id = idOf(flow, home);
    const { page, complaints } = await watch(flow);
    const dialog = page.getByRole('dialog', { name: `Drain ${id}?` });

    await buttonOf(page, id).click();
    expect(await dialog.innerText()).toContain('It holds 1 session.');
    expect(await audit(page)).toEqual([]);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialog.waitFor({ state: 'hidden' });
    expect(await talk.task('ping')).toBe(home);

    await buttonOf(page, id).click();
    await dialog.getByRole('button', { name: 'Drain' }).click();
    await inState(page, id, 'draining');
    await until('it has left', async () => (await talk.task('ping')) !== home);

    await page.getByRole('button', { name: `Undo drain ${id}` }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Undo' }).click();
    await inState(page, id, 'ready');
    expect(complaints).toEqual([]);
  });

  test('by keyboard alone, and focus stays where it was while the page changes under it', async () => {
    const flow = await begin({ backends: ['a', 'b'] });
    const { page } = await watch(flow);
    const { keyboard } = page;
    const first = page.locator('button.order').first();
    const id = (await first.getAttribute('data-backend')) ?? '';
    const onFirst = () => page.evaluate(`document.activeElement?.dataset.backend === ${JSON.stringify(id)}`);
    for (let presses = 0; presses < 10 && !(await onFirst()); presses += 1) await keyboard.press('Tab');
    expect(await onFirst()).toBe(true);

    await keyboard.press('Enter');
    expect(await focused(page)).toBe('Cancel');
    await keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    expect(await onFirst()).toBe(true);

    await keyboard.press('Enter');
    await keyboard.press('Tab');
    expect(await focused(page)).toBe('Drain');
    await keyboard.press('Enter');
    await inState(page, id, 'draining');
    await until('the button is another now', async () => (await focused(page)) === 'Undo drain');
    expect(await onFirst()).toBe(true);
  });

  test.each(['no', 'yes'])('asked again before the browser tells of the answer %s', async (answer) => {
    const flow = await begin({ backends: ['a', 'b'] });
    const { page } = await watch(flow);
    const [a, b] = [idOf(flow, 'a'), idOf(flow, 'b')];
    const orders: string[] = [];
    page.on('request', (request) => {
      if (request.method() === 'POST') orders.push(decodeURIComponent(request.url()));
    });
    const press = (id: string) => `document.querySelector('button.order[data-backend="${id}"]').click()`;
    await page.evaluate(`${press(a)}; document.querySelector('dialog').close('${answer}'); ${press(b)}`);
    await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click();
    await inState(page, b, 'draining');
    const drained = answer === 'yes' ? [a, b] : [b];
    expect(orders).toEqual(drained.map((id) => expect.stringContaining(`/backends/${id}/drain`)));
  });

  test('where a token is wanted the browser shows it, and without it there is nothing to see', async () => {
    const token = 'correct-horse-battery';
    const flow = await begin({ backends: ['a', 'b'], flags: ['--ops-token', token] });
    for (const path of ['/', '/status', '/events', '/status.js']) {
      expect([path, (await fetch(flow.proxies[0]!.opsUrl + path)).status]).toEqual([path, 401]);
    }
    const { page, complaints } = await watch(flow, { httpCredentials: { username: 'anybody', password: token } });
    await buttonOf(page, idOf(flow, 'a')).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click();
    await inState(page, idOf(flow, 'a'), 'draining');
    expect(complaints).toEqual([]);
  });

  test('says why an order was not taken', async () => {
    const flow = await begin({ backends: ['a', 'b'] });
    const { page } = await watch(flow);
    await page.route('**/drain', (route) => route.fulfill({ status: 403, json: { error: 'from loopback only' } }));
    await buttonOf(page, idOf(flow, 'a')).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Drain' }).click();
    const told = page.getByRole('alert');
    await told.waitFor();
    expect(await told.innerText()).toBe('The order was not taken: from loopback only');
    await inState(page, idOf(flow, 'a'), 'ready');
  });
});

test('a backend that dies, and a registry that is away', async () => {
  const flow = await begin({ redis: true });
  const { page } = await watch(flow);
  await flow.kill('b');
  await inState(page, idOf(flow, 'b'), 'dead');
  expect(await buttonOf(page, idOf(flow, 'b')).count()).toBe(0);
  await flow.redis().kill9();
  await flow.talk().catch(() => {});
  await page.locator('.vitals', { hasText: /redis\s+away/ }).waitFor();
  expect(await audit(page)).toEqual([]);
  await flow.redis().start();
  await page.locator('.vitals', { hasText: /redis\s+up/ }).waitFor();
});

test('a proxy that goes and comes back: the page says so, and is live again by itself', async () => {
  const flow = await begin({ backends: ['a'] });
  const flags = ['--ops-port', String(await freePort())];
  const first = await startProxy(flow.servers.origins, flags);
  const { page } = await tab();
  await page.goto(first.opsUrl);
  await live(page);
  await first.stop();
  await page.locator('#live', { hasText: 'no answer' }).waitFor();
  const second = await startProxy(flow.servers.origins, flags);
  onTestFinished(() => second.stop());
  await live(page);
  expect(await page.locator('.vitals').innerText()).toMatch(/up \d s/);
});

test('360 pixels wide: all of it is there, and nothing sticks out', async () => {
  const flow = await begin();
  const all = await talks(flow, 2);
  await flow.drain(await all[0]!.task('ping'));
  await all[0]!.task('ping');
  const { page } = await watch(flow, { viewport: { width: 360, height: 640 } });
  await page.locator('.migrations tbody tr').first().waitFor();
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
  const out = `[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > 360).length`;
  expect(await page.evaluate(out)).toBe(0);
  expect(await audit(page)).toEqual([]);
  await buttonOf(page, idOf(flow, 'a')).click();
  await page.getByRole('dialog').waitFor();
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
});

test('dark, for who wants it dark', async () => {
  const flow = await begin({ backends: ['a', 'b'] });
  await flow.drain('a');
  await flow.kill('b');
  const { page, complaints } = await watch(flow, { colorScheme: 'dark' });
  await inState(page, idOf(flow, 'a'), 'draining');
  await inState(page, idOf(flow, 'b'), 'dead');
  expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(17, 20, 22)');
  expect(await audit(page)).toEqual([]);
  expect(complaints).toEqual([]);
});

test('nothing moves for who wants no motion', async () => {
  const flow = await begin();
  const talk = await flow.talk();
  const home = await talk.task('ping');
  const moving = async (page: Page) => {
    await page.evaluate(`new Promise((resolve) => {
      addEventListener('animationstart', () => (document.body.dataset.moved = 'yes'), true);
      resolve();
    })`);
  };
  const [still, lively] = [await watch(flow, { reducedMotion: 'reduce' }), await watch(flow)];
  await moving(still.page);
  await moving(lively.page);
  await flow.drain(home);
  await talk.task('ping');
  await lively.page.locator('body[data-moved]').waitFor();
  await still.page.locator('.migrations tbody tr').first().waitFor();
  expect(await still.page.locator('body[data-moved]').count()).toBe(0);
});

test('without a script all can be read, nothing can be ordered, and it is read again by itself', async () => {
  const flow = await begin();
  const { page, complaints } = await watch(flow, { javaScriptEnabled: false });
  await page.getByText('3 ready · 0 sessions').waitFor();
  expect(await page.getByRole('button').count()).toBe(0);
  expect(await page.locator('#live').innerText()).toBe('read again every 5 s');
  await flow.talk();
  await page.getByText('3 ready · 1 session').waitFor();
  expect(complaints).toEqual([]);
});
