import type { EventView, PoolView, TotalView, UpstreamView } from '@headgate/admin'

export interface TopState {
  readonly total: TotalView
  readonly pools: readonly PoolView[]
  readonly upstreams: readonly UpstreamView[]
  /** Newest first. */
  readonly events: readonly EventView[]
  readonly at: number
}

export interface Screen {
  readonly columns: number
  readonly rows: number
  readonly colours: boolean
}

const CODES = { red: 31, green: 32, yellow: 33, blue: 34, grey: 90, bold: 1, inverse: 7 } as const
type Style = keyof typeof CODES

const STATES: Readonly<Record<UpstreamView['state'], { readonly sign: string; readonly style: Style; readonly rank: number }>> = {
  down: { sign: 'x', style: 'red', rank: 0 }, ejected: { sign: '!', style: 'red', rank: 1 }, degraded: { sign: '~', style: 'yellow', rank: 2 },
  maintenance: { sign: '=', style: 'grey', rank: 3 }, draining: { sign: 'v', style: 'blue', rank: 4 }, up: { sign: '+', style: 'green', rank: 5 }
}

const COLUMNS: readonly { readonly title: string; readonly width: number; readonly left?: boolean; readonly least: number }[] = [
  { title: 'STATE', width: 13, left: true, least: 0 }, { title: 'UPSTREAM', width: 28, left: true, least: 0 }, { title: 'POOL', width: 12, left: true, least: 90 },
  { title: 'WEIGHT', width: 8, least: 100 }, { title: 'REQ/S', width: 8, least: 0 }, { title: 'ERR%', width: 7, least: 0 }, { title: 'P50', width: 8, least: 80 },
  { title: 'P95', width: 8, least: 0 }, { title: 'INFL', width: 6, least: 72 }
]

const number = (value: number): string => value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)))
const time = (ms: number | null): string => ms === null ? '-' : ms >= 1000 ? `${number(ms / 1000)}s` : `${number(ms)}ms`
const percent = (part: number, whole: number): string => whole === 0 ? '-' : (part / whole * 100).toFixed(1)

/** What comes from elsewhere must not steer the terminal. */
// eslint-disable-next-line no-control-regex
const plain = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')

function cut (text: string, width: number, left = false): string {
  const short = text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text
  return left ? short.padEnd(width) : short.padStart(width)
}

function advised ({ advice, ready }: PoolView): string {
  return advice === null || advice.desired === ready ? '' : `, ${advice.desired} advised`
}

/** One picture of the pools that fits the screen; lines without line breaks. */
export function draw ({ total, pools, upstreams, events, at }: TopState, { columns, rows, colours }: Screen): string[] {
  const paint = (text: string, style: Style): string => colours ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text
  const lines: string[] = []
  const out = upstreams.filter(({ state }) => state === 'down' || state === 'ejected').length
  const head = `Headgate  ${number(total.rate)} req/s  ${percent(total.errorRate, total.rate)}% errors  p95 ${time(total.p95)}  ` +
    `${total.inFlight} in flight  ${total.queued} waiting  ${upstreams.length} upstreams${out > 0 ? `, ${out} out` : ''}`
  lines.push(paint(cut(head, columns, true), out > 0 ? 'red' : 'bold'))
  for (const pool of pools.slice(0, Math.max(1, Math.floor(rows / 4)))) {
    const line = `  ${plain(pool.name)} (${plain(pool.policy)}): ${pool.ready}/${pool.upstreams} ready, ${number(pool.rate)}/s, p95 ${time(pool.p95)}, ` +
      `${pool.inFlight} in flight, ${pool.queued} waiting, ${pool.retries} retries${advised(pool)}${pool.panic ? ', PANIC' : ''}`
    lines.push(paint(cut(line, columns, true), pool.ready === 0 || pool.panic ? 'red' : pool.ready < pool.upstreams ? 'yellow' : 'grey'))
  }
  const shown = COLUMNS.filter(({ least }) => columns >= least)
  const reason = columns - shown.reduce((sum, { width }) => sum + width + 1, 0)
  lines.push(paint(cut(shown.map(({ title, width, left }) => cut(title, width, left)).join(' ') + (reason > 8 ? ' REASON' : ''), columns, true), 'inverse'))
  const log = Math.min(events.length, Math.max(0, Math.floor(rows / 5)))
  const sorted = upstreams.toSorted((a, b) => STATES[a.state].rank - STATES[b.state].rank || b.rate - a.rate || (a.url < b.url ? -1 : 1))
  const room = Math.max(1, rows - lines.length - log - (log > 0 ? 1 : 0) - 1)
  for (const view of sorted.slice(0, room)) {
    const { sign, style } = STATES[view.state]
    const texts = [
      `${sign} ${view.state}`, plain(view.url), plain(view.pool), number(view.weight), number(view.rate), percent(view.errorRate, view.rate),
      time(view.p50), time(view.p95), String(view.inFlight)
    ]
    const cells = COLUMNS.map(({ width, left }, i) => cut(texts[i]!, width, left)).filter((_, i) => columns >= COLUMNS[i]!.least)
    const why = reason > 8 ? ` ${cut(view.state === 'up' && view.operator === 'auto' ? '' : plain(view.reason), reason - 1, true)}` : ''
    lines.push(`${paint(cells[0]!, style)} ${cells.slice(1).join(' ')}${why}`)
  }
  if (sorted.length > room) lines.push(paint(cut(`… and ${sorted.length - room} more`, columns, true), 'grey'))
  if (log > 0) lines.push('')
  for (const event of events.slice(0, log)) {
    const ago = Math.max(0, Math.round((at - event.at) / 1000))
    const text = cut(`${cut(`${ago}s`, 6)} ${plain(event.pool)} ${plain(event.url)} ${plain(event.text)}${event.actor === '' ? '' : ` (${plain(event.actor)})`}`, columns, true)
    lines.push(event.severity === 'bad' ? paint(text, 'red') : event.severity === 'warn' ? paint(text, 'yellow') : text)
  }
  return lines.slice(0, rows)
}
