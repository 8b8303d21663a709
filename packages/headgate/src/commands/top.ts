import type { EventView, Snapshot, UpstreamView } from '@headgate/admin'
import type { Client } from './client.ts'
import { draw, type TopState } from './top-screen.ts'

const EVENTS = 50
const keyOf = ({ pool, id }: { readonly pool: string; readonly id: string }): string => `${pool}\n${id}`

export interface TopOptions {
  readonly once: boolean
  readonly json: boolean
  readonly pool: string | undefined
}

/** Where it is drawn. */
export interface Terminal {
  readonly columns?: number
  readonly rows?: number
  readonly isTTY?: boolean
  write (text: string): unknown
}

/** Shows the pools until `signal`; with `once` as they are now, with `json` as data, one line a second. */
export async function top (client: Client, options: TopOptions, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const upstreams = new Map<string, UpstreamView>()
  const events: EventView[] = []
  let state: TopState | undefined
  const take = (message: Pick<Snapshot, 'at' | 'total' | 'pools' | 'upstreams'>): void => {
    for (const view of message.upstreams) upstreams.set(keyOf(view), view)
    const own = (pool: string): boolean => options.pool === undefined || pool === options.pool
    state = {
      at: message.at, total: message.total, pools: message.pools.filter(({ name }) => own(name)),
      upstreams: [...upstreams.values()].filter(({ pool }) => own(pool)), events
    }
  }
  const live = terminal.isTTY === true && !options.once && !options.json
  const show = (): void => {
    if (state === undefined) return
    if (options.json) {
      terminal.write(`${JSON.stringify({ at: state.at, total: state.total, pools: state.pools, upstreams: state.upstreams })}\n`)
      return
    }
    const colours = terminal.isTTY === true && process.env['NO_COLOR'] === undefined
    const lines = draw(state, { columns: terminal.columns ?? 100, rows: live ? terminal.rows ?? 24 : Infinity, colours })
    // Home, each line cleared to its end, then the rest of the screen: no flicker.
    terminal.write(live ? `\u001b[H${lines.join('\u001b[K\r\n')}\u001b[K\u001b[J` : `${lines.map((line) => line.trimEnd()).join('\n')}\n`)
  }
  if (live) {
    terminal.write('\u001b[?1049h\u001b[?25l')
    process.stdout.on('resize', show)
  }
  try {
    for await (const { event, data } of client.stream(signal)) {
      if (event === 'event') {
        events.unshift(data)
        if (events.length > EVENTS) events.pop()
        continue
      }
      if (event === 'snapshot') upstreams.clear()
      else for (const gone of data.removed) upstreams.delete(keyOf(gone))
      take(data)
      show()
      if (options.once) return
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    if (live) {
      process.stdout.off('resize', show)
      terminal.write('\u001b[?25h\u001b[?1049l')
    }
  }
}
