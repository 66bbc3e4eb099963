/** The tables of the status page: the backends, the migrations, what happened. Pure. */

import { type Html, html } from './html.ts';
import { ceilingOf, gauge, sparkline } from './plot.ts';
import type { BackendState, BackendStatus, MigrationStatus, Notice, Status } from './snapshot.ts';
import { clock, count, duration, plural, rate } from './words.ts';

/** A shape for each state, for those to whom colours say nothing. */
const SHAPES: Readonly<Record<BackendState, string>> = {
  ready: 'M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z',
  draining: 'M1 2h10L6 11z',
  suspect: 'M6 1l5.5 10h-11z',
  dead: 'M2 .5l4 4 4-4 1.5 1.5-4 4 4 4-1.5 1.5-4-4-4 4-1.5-1.5 4-4-4-4z',
  gone: 'M1 5h10v2H1z',
};

/** `10.0.0.9` before `10.0.0.10`. Made once: that takes longer than to compare. */
const BY_NUMBER = new Intl.Collator('en', { numeric: true });

type Columns = { readonly zones: boolean; readonly releases: boolean };

/** On narrow screens each cell says what it is; the roles keep it a table there. */
export function backendsTable({ backends, at }: Status): Html {
  const columns = {
    zones: backends.some(({ zone }) => zone !== undefined),
    releases: backends.some(({ release }) => release !== undefined),
  };
  const most = Math.max(1, ...backends.map(({ sessions, drainingFrom = 0 }) => Math.max(sessions, drainingFrom)));
  const busiest = ceilingOf(backends.flatMap(({ exchanges }) => exchanges));
  const head = (name: string, kind = ''): Html =>
    html`<th role="columnheader" scope="col" class="${kind}">${name}</th>`;
  const rows = backends
    .toSorted((one, other) => BY_NUMBER.compare(one.id, other.id))
    .map((backend) => backendRow(backend, { at, most, busiest, columns }));
  if (rows.length === 0) return html`<p class="none">Discovery has named nobody yet: exchanges are held.</p>`;
  return html`<table role="table" class="backends" aria-labelledby="backends-title">
    <thead role="rowgroup">
      <tr role="row">
        ${head('backend')}${head('state')}${columns.zones && head('zone')}${columns.releases && head('release', 'number')}${head('known for', 'number')}${head('sessions', 'number wide')}${head('streams', 'number')}${head('exchanges/s', 'number wide')}${head('errors/s', 'number')}
        <th role="columnheader" scope="col" class="action"><span class="unseen">order</span></th>
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${rows}
    </tbody>
  </table>`;
}

type Scale = { readonly at: number; readonly most: number; readonly busiest: number; readonly columns: Columns };

function backendRow(backend: BackendStatus, { at, most, busiest, columns }: Scale): Html {
  const { id, state, zone = '–', release, streams } = backend;
  const cell = (name: string, content: Html | string, kind = 'number'): Html =>
    html`<td role="cell" class="${kind}" data-name="${name}">${content}</td>`;
  return html`<tr role="row" class="${state}" data-key="${id}">
    <th role="rowheader" scope="row" class="name">${id}</th>
    <td role="cell" class="standing" data-name="state">
      <span class="state"
        ><svg viewBox="0 0 12 12" aria-hidden="true"><path d="${SHAPES[state]}" /></svg>${state}</span
      >
      <span class="dim">${duration(at - backend.stateSince)}</span>
      ${leaving(backend)}
    </td>
    ${columns.zones && cell('zone', zone, '')}${columns.releases && cell('release', release === undefined ? '–' : String(release))}${cell('known for', duration(at - backend.since))}${cell('sessions', html`${gauge(backend.sessions / most)}<b>${count(backend.sessions)}</b>`, 'number wide')}${cell('streams', count(streams))}${cell('exchanges/s', html`${sparkline(backend.exchanges, busiest)}<b>${rate(backend.exchangesPerSecond)}</b>`, 'number wide')}${cell('errors/s', html`<span class="${backend.errorsPerSecond > 0 && 'bad'}">${rate(backend.errorsPerSecond)}</span>`)}
    <td role="cell" class="action">${orderFor(backend)}</td>
  </tr>`;
}

/** How far a drain is. */
function leaving({ state, sessions, drainingFrom = 0 }: BackendStatus): Html | false {
  if (state !== 'draining' || drainingFrom === 0) return false;
  const all = count(drainingFrom);
  const words = sessions === 0 ? `all ${all} have left` : `${count(drainingFrom - sessions)} of ${all} have left`;
  return html`<span class="leaving">${words}</span>`;
}

/** Shown where the page's script runs, which asks first. What is no order's drain cannot be undone by one. */
function orderFor({ id, state, sessions, drainingBy = 'order' }: BackendStatus): Html {
  if (state === 'dead' || state === 'gone' || drainingBy !== 'order') return html``;
  const [order, word] = state === 'draining' ? ['undrain', 'Undo drain'] : ['drain', 'Drain…'];
  return html`<button
    type="button"
    class="order"
    data-order="${order}"
    data-backend="${id}"
    data-sessions="${sessions}"
    aria-label="${word.replace('…', '')} ${id}"
  >
    ${word}
  </button>`;
}

export function migrationsTable(migrations: readonly MigrationStatus[]): Html {
  if (migrations.length === 0) return html`<p class="none">No session has migrated through this proxy.</p>`;
  const head = (name: string, kind = ''): Html =>
    html`<th role="columnheader" scope="col" class="${kind}">${name}</th>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-labelledby="migrations-title">
    <table role="table" class="migrations" aria-labelledby="migrations-title">
      <thead role="rowgroup">
        <tr role="row">
          ${head('time, UTC')}${head('session')}${head('from')}${head('to')}${head('reason')}${head('outcome')}${head('ms', 'number')}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${migrations.map(migrationRow)}
      </tbody>
    </table>
  </div>`;
}

function migrationRow({ at, session, from, to, reason, outcome, ms, cause }: MigrationStatus): Html {
  const well = outcome === 'migrated' || outcome === 'raced' || outcome === 'ended';
  const cell = (name: string, content: Html | string, kind = ''): Html =>
    html`<td role="cell" class="${kind}" data-name="${name}">${content}</td>`;
  const told = html`<span class="${well ? 'good' : 'bad'}">${outcome}</span
    >${cause !== undefined && html`<span class="cause">${cause}</span>`}`;
  return html`<tr role="row" data-key="${at} ${session} ${to} ${outcome}">
    ${cell('time', html`<time datetime="${new Date(at).toISOString()}">${clock(at)}</time>`, 'dim')}${cell('session', session)}${cell('from', from)}${cell('to', to)}${cell('reason', reason, 'bare')}${cell('outcome', told, 'bare')}${cell('ms', count(ms), 'number')}
  </tr>`;
}

export function noticesList(notices: readonly Notice[]): Html {
  if (notices.length === 0) return html`<p class="none">All is as it was when this proxy started.</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-labelledby="notices-title">
    <ol class="notices">
      ${notices.map(({ at, text }) => html`<li data-key="${at} ${text}"><time class="dim" datetime="${new Date(at).toISOString()}">${clock(at)}</time> ${text}</li>`)}
    </ol>
  </div>`;
}

/** How many there are of each state, and the sessions of all. */
export function summary({ backends, sessions }: Status): string {
  const of = (state: BackendState): number => backends.filter((one) => one.state === state).length;
  const states = (['ready', 'draining', 'suspect', 'dead', 'gone'] as const).filter((state) => of(state) > 0);
  return `${states.map((state) => `${of(state)} ${state}`).join(', ') || 'none'} · ${plural(sessions, 'session')}`;
}
