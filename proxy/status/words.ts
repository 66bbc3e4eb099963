/** Numbers and times as people read them. Pure. */

/** Made once: that takes longer than all the rest of a page. */
const WHOLE = new Intl.NumberFormat('en-US');

/** As in `0`, `0.4`, `12`, `1,204`. */
export function rate(perSecond: number): string {
  if (perSecond === 0) return '0';
  if (perSecond < 0.05) return '<0.1';
  return perSecond < 9.95 ? perSecond.toFixed(1) : count(Math.round(perSecond));
}

export function count(whole: number): string {
  return WHOLE.format(whole);
}

/** As in `8 s`, `3 min`, `2 h 5 min`, `4 d 1 h`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h${minutes % 60 === 0 ? '' : ` ${minutes % 60} min`}`;
  return `${Math.floor(hours / 24)} d${hours % 24 === 0 ? '' : ` ${hours % 24} h`}`;
}

/** The time of day in UTC, as in `09:41:07`. */
export function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 19);
}

export function plural(number: number, one: string): string {
  return `${count(number)} ${one}${number === 1 ? '' : 's'}`;
}
