import type { EventView, Plan, PoolView, Snapshot, Tick, UpstreamView } from '@headgate/admin'

/** The admin API said no, or was not there. */
export class ClientError extends Error {
  override readonly name = 'ClientError'
}

export type StreamMessage =
  | { readonly event: 'snapshot'; readonly data: Snapshot }
  | { readonly event: 'tick'; readonly data: Tick }
  | { readonly event: 'event'; readonly data: EventView }

/** Speaks to the admin API of a running proxy. */
export class Client {
  readonly #base: string
  readonly #headers: Record<string, string>

  /** `url`: the prefix of the admin plugin, `http://127.0.0.1:8080/headgate`. */
  constructor (url: string, token: string | undefined) {
    this.#base = `${url.replace(/\/+$/, '')}/api`
    this.#headers = { 'x-headgate-admin': 'cli', ...token !== undefined && { authorization: `Bearer ${token}` } }
  }

  async call<T> (path: string, method = 'GET', body?: unknown): Promise<T> {
    const response = await this.#fetch(path, {
      method, headers: { ...this.#headers, ...body !== undefined && { 'content-type': 'application/json' } },
      ...body !== undefined && { body: JSON.stringify(body) }
    })
    return await response.json() as T
  }

  pools (): Promise<{ pools: PoolView[] }> {
    return this.call('/pools')
  }

  async upstreams (pool: string): Promise<UpstreamView[]> {
    return (await this.call<{ upstreams: UpstreamView[] }>(`/pools/${encodeURIComponent(pool)}/upstreams`)).upstreams
  }

  /** The upstream that is meant by an id or an address, in one pool or in all. */
  async find (name: string, pool: string | undefined): Promise<UpstreamView> {
    const pools = pool === undefined ? (await this.pools()).pools.map(({ name }) => name) : [pool]
    const all = (await Promise.all(pools.map((pool) => this.upstreams(pool)))).flat()
    const found = all.filter(({ id, url }) => id === name || url === name || url === `http://${name}`)
    if (found.length === 1) return found[0]!
    if (found.length > 1) throw new ClientError(`'${name}' is in several pools (${found.map(({ pool }) => pool).join(', ')}): name one with --pool`)
    throw new ClientError(`there is no upstream '${name}'; there are ${all.map(({ id, url }) => `${id} (${url})`).join(', ') || 'none'}`)
  }

  change (upstream: UpstreamView, change: object): Promise<Plan> {
    return this.call(path(upstream), 'PATCH', change)
  }

  remove (upstream: UpstreamView): Promise<Plan> {
    return this.call(path(upstream), 'DELETE')
  }

  /** What the stream tells, until it ends. */
  async * stream (signal: AbortSignal): AsyncGenerator<StreamMessage> {
    const response = await this.#fetch('/stream', { headers: this.#headers, signal })
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true })
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        const block = text.slice(0, end)
        text = text.slice(end + 2)
        const event = /^event: (.*)$/m.exec(block)?.[1]
        const data = /^data: (.*)$/m.exec(block)?.[1]
        if (event !== undefined && data !== undefined) yield { event, data: JSON.parse(data) as unknown } as StreamMessage
      }
    }
  }

  async #fetch (path: string, options: RequestInit): Promise<Response> {
    let response: Response
    try {
      response = await fetch(this.#base + path, options)
    } catch (error) {
      const { cause } = error as Error & { cause?: Error & { code?: string } }
      throw new ClientError(`${this.#base} does not answer (${cause?.code ?? (error as Error).message}): is it running, with --admin? Its address is given with --url`)
    }
    if (response.ok) return response
    const { message } = await response.json().catch(() => ({})) as { message?: string }
    throw new ClientError(message ?? `${this.#base}${path} answered ${response.status}`)
  }
}

function path ({ pool, id }: UpstreamView): string {
  return `/pools/${encodeURIComponent(pool)}/upstreams/${encodeURIComponent(id)}`
}
