import type { Change, EventView, ExplainView, Plan, SeriesView, Snapshot, Tick, UpstreamDetail } from '@headgate/admin/model'
import type { Store } from './store.ts'

/** An answer that is no 2xx. */
export class ApiError extends Error {
  readonly status: number

  constructor (status: number, message: string) {
    super(message)
    this.status = status
  }
}

async function call<T> (path: string, method = 'GET', body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const response = await fetch(`api${path}`, {
    method,
    // A page of another site cannot send this header.
    headers: { ...headers, 'x-headgate-admin': 'dashboard', ...body !== undefined && { 'content-type': 'application/json' } },
    ...body !== undefined && { body: JSON.stringify(body) }
  })
  const answer = await response.json().catch(() => ({})) as T & { message?: string }
  if (!response.ok) throw new ApiError(response.status, answer.message ?? `the server answered ${response.status}`)
  return answer
}

const part = encodeURIComponent

export const api = {
  series: (scope: string): Promise<SeriesView> => call(`/series${scope === '' ? '' : `?pool=${part(scope)}`}`),
  upstream: (pool: string, id: string): Promise<UpstreamDetail> => call(`/pools/${part(pool)}/upstreams/${part(id)}`),
  plan: (changes: readonly Change[]): Promise<Plan> => call('/plan', 'POST', { changes }),
  apply: (changes: readonly Change[], etag: string): Promise<Plan> => call('/apply', 'POST', { changes }, { 'if-match': etag }),
  explain: (method: string, url: string, headers: readonly string[]): Promise<ExplainView> =>
    call(`/explain?${new URLSearchParams([['method', method], ['url', url], ...headers.map((header) => ['header', header])])}`),
  purge: (what: object): Promise<{ purged: number }> => call('/cache/purge', 'POST', what)
}

/** Keeps the store up to date. The browser connects again by itself, and then gets a new snapshot; a refusal is tried again here. */
export function follow (store: Store): void {
  const source = new EventSource('api/stream')
  const on = (name: string, take: (data: unknown) => void): void => {
    source.addEventListener(name, (event) => { take(JSON.parse((event as MessageEvent<string>).data)) })
  }
  on('snapshot', (data) => {
    store.connected = true
    store.snapshot(data as Snapshot)
  })
  on('tick', (data) => { store.tick(data as Tick) })
  on('event', (data) => { store.event(data as EventView) })
  source.addEventListener('error', () => {
    store.link(false)
    if (source.readyState !== EventSource.CLOSED) return
    source.close()
    setTimeout(() => { follow(store) }, 3000)
  })
}
