/** The status page as HTML: whole for readers without a script, its changing part again for the page's own. Pure. */

import { type Html, html } from './html.ts';
import { barPlot, ceilingOf, linePlot } from './plot.ts';
import type { Dependency, Status } from './snapshot.ts';
import { backendsTable, migrationsTable, noticesList, summary } from './tables.ts';
import { count, duration, rate } from './words.ts';

/** For a reader without a script. Seconds. */
const REFRESH_SECONDS = 5;
/** A dot between two others: one that stays. */
const ICON = `data:image/svg+xml,${encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#1f7a5c"/><path d="M3 8h10" stroke="#fff" stroke-width="1.5"/><circle cx="8" cy="8" r="3" fill="#fff"/></svg>')}`;

export function renderPage(status: Status): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>mcp-affinity: status</title>
        <link rel="icon" href="${ICON}" />
        <link rel="stylesheet" href="status.css" />
        <script type="module" src="status.js"></script>
        <noscript><meta http-equiv="refresh" content="${REFRESH_SECONDS}" /></noscript>
      </head>
      <body>
        <header>
          <h1>mcp-affinity</h1>
          <p id="live" class="dim"><noscript>read again every ${REFRESH_SECONDS} s</noscript></p>
        </header>
        <p id="told" role="alert" hidden></p>
        <main id="page">${renderMain(status)}</main>
        <p id="said" class="unseen" role="status" aria-live="polite"></p>
        ${DIALOG}
      </body>
    </html> `.html;
}

/** What changes from one second to the next. */
export function renderMain(status: Status): Html {
  return html`${vitals(status)}${plots(status)}
    <section class="of-backends">
      <h2 id="backends-title">Backends <span class="dim">${summary(status)}</span></h2>
      ${backendsTable(status)}
    </section>
    <div class="columns">
      <section>
        <h2 id="migrations-title">
          Migrations <span class="dim">the last ${status.migrations.length || 'ones'}, the newest first</span>
        </h2>
        ${migrationsTable(status.migrations)}
      </section>
      <section>
        <h2 id="notices-title">What happened</h2>
        ${noticesList(status.notices)}
      </section>
    </div>`;
}

const DIALOG = html`<dialog id="ask" aria-labelledby="ask-title" aria-describedby="ask-text">
  <form method="dialog">
    <h2 id="ask-title"></h2>
    <p id="ask-text"></p>
    <p class="buttons">
      <button type="submit" value="no">Cancel</button> <button type="submit" value="yes" id="ask-yes"></button>
    </p>
  </form>
</dialog>`;

function vitals(status: Status): Html {
  const { at, registry, discovery, checks, ready } = status;
  const words = (up: boolean, well: string, bad: string): Html =>
    html`<span class="${up ? 'good' : 'bad'}">${up ? well : bad}</span>`;
  const part = (name: string, { up, since, cause }: Dependency, kind: string, well: string, bad: string): Html =>
    html`<div>
      <dt>${name}</dt>
      <dd>
        ${kind}
        ${words(up, well, bad)}${!up && html` <span class="dim">${duration(at - since)}</span>${cause !== undefined && html` <span class="cause">${cause}</span>`}`}
      </dd>
    </div>`;
  return html`<dl class="vitals">
    <div>
      <dt>this proxy</dt>
      <dd>
        ${status.version} ${words(ready, 'ready', 'not ready')}
        <span class="dim">up ${duration(at - status.startedAt)}</span>
      </dd>
    </div>
    ${part('registry', registry, registry.kind, 'up', 'away')}${part('discovery', discovery, discovery.kind, 'up', 'down')}${part('checks', checks, '', 'believed', 'doubted')}
    <div>
      <dt>streams</dt>
      <dd>${count(status.streams)} <span class="dim">open here</span></dd>
    </div>
  </dl>`;
}

function plots({ history, ...status }: Status): Html {
  const minutes = (history.stepSeconds * history.sessions.length) / 60;
  const figure = (name: string, now: string, most: string, plot: (label: string) => Html, kind = ''): Html =>
    html`<figure class="${kind}">
      <figcaption><span class="name">${name}</span> <b>${now}</b></figcaption>
      ${plot(`${name}, the last ${minutes} minutes: now ${now}, at most ${most}`)}
      <p class="axis" aria-hidden="true"><span>−${minutes} min</span><span>max ${most}</span><span>now</span></p>
    </figure>`;
  const migrated = history.migrations.reduce<number>((sum, value) => sum + (value ?? 0), 0);
  const { exchangesPerSecond, errorsPerSecond, sessions, migrations } = history;
  const highest = (values: readonly (number | null)[]): number => ceilingOf(values, 0);
  return html`<section class="plots" aria-label="The last ${minutes} minutes">
    ${figure('exchanges/s', rate(status.exchangesPerSecond), rate(highest(exchangesPerSecond)), (label) => linePlot(exchangesPerSecond, label))}${figure('sessions', count(status.sessions), count(highest(sessions)), (label) => linePlot(sessions, label))}${figure('migrations', count(migrated), `${count(highest(migrations))} in ${history.stepSeconds} s`, (label) => barPlot(migrations, label), 'migrated')}${figure('errors/s', rate(status.errorsPerSecond), rate(highest(errorsPerSecond)), (label) => barPlot(errorsPerSecond, label), 'errors')}
  </section>`;
}
