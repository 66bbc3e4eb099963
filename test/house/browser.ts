/** A real headless Chromium, and pages that note whatever a browser complains of. */

import axe from 'axe-core';
import { type Browser, type BrowserContextOptions, type Page, chromium } from 'playwright-core';
import { z } from 'zod';
import { install } from './installed.ts';

const PROGRAM = 'chromium';
const HOW_TO_INSTALL = `${PROGRAM} is not on PATH, so that nothing was tried in a browser: install it, as with \`apt-get install ${PROGRAM}\``;

/** Undefined, after a line that says how to install it, where there is none. */
export async function startBrowser(): Promise<Browser | undefined> {
  const executablePath = await install(PROGRAM);
  if (executablePath !== undefined) return chromium.launch({ executablePath });
  process.stdout.write(`${HOW_TO_INSTALL}\n`);
  return undefined;
}

export type Tab = {
  readonly page: Page;
  /** Errors of the console and of scripts, and what the page's policy has kept from happening. */
  readonly complaints: readonly string[];
  readonly close: () => Promise<void>;
};

/** With cookies and a session of its own. */
export async function openTab(browser: Browser, options: BrowserContextOptions = {}): Promise<Tab> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => void complaints.push(error.message));
  return { page, complaints, close: () => context.close() };
}

const AUDIT = z.object({
  violations: z.array(z.object({ id: z.string(), nodes: z.array(z.object({ html: z.string() })) })),
  passes: z.array(z.unknown()),
});

/** What axe-core has against the page as it is now; throws when it found nothing to look at. */
export async function audit(page: Page): Promise<readonly string[]> {
  // By the debugger, which the page's policy does not hold back.
  await page.evaluate(axe.source);
  const { violations, passes } = AUDIT.parse(await page.evaluate('axe.run(document)'));
  if (passes.length === 0) throw new Error('axe-core found nothing to look at');
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}
