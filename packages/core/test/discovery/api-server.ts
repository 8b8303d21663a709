import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Test } from './helpers.ts'

type Kind = 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
interface Slice { readonly metadata: { readonly name: string; readonly resourceVersion: string; readonly labels: Record<string, string> } }
interface Change { readonly version: number; readonly type: Kind; readonly object: object; readonly service: string }

/**
 * The part of a Kubernetes API server that EndpointSlices need, speaking the real protocol: list in pages that show one moment, watch from
 * a version on, bookmarks, selectors, bearer tokens, and 410 for versions and pages that were compacted away.
 */
export class ApiServer {
  readonly #slices = new Map<string, Slice>()
  #changes: Change[] = []
  #version = 100
  /** Versions up to this one are forgotten. */
  #compacted = 0
  readonly #watchers = new Set<{ readonly service: string; readonly response: ServerResponse }>()
  readonly #snapshots = new Map<string, { readonly version: number; readonly items: readonly Slice[] }>()
  readonly requests: string[] = []
  token = ''
  pageLimit = Infinity
  /** Answer everything with this status. */
  outage = 0
  gone: 'event' | 'status' = 'event'
  /** Writes something that nobody can read behind the next change, with it, and ends the watch. */
  garble = false
  url = ''

  get watching (): number { return this.#watchers.size }

  async listen (t: Test, tls?: { readonly key: string; readonly cert: string }): Promise<void> {
    const handler = (request: IncomingMessage, response: ServerResponse): void => { this.#handle(request, response) }
    const server = tls === undefined ? createHttpServer(handler) : createHttpsServer(tls, handler)
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
    this.url = `http${tls === undefined ? '' : 's'}://localhost:${(server.address() as AddressInfo).port}`
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
  }

  put (service: string, name: string, slice: object): void {
    const object = { ...slice, kind: 'EndpointSlice', metadata: { name, resourceVersion: String(++this.#version), labels: { 'kubernetes.io/service-name': service } } }
    const type = this.#slices.has(name) ? 'MODIFIED' : 'ADDED'
    this.#slices.set(name, object)
    this.#tell({ version: this.#version, type, object, service })
  }

  delete (service: string, name: string): void {
    const object = this.#slices.get(name)!
    this.#slices.delete(name)
    this.#tell({ version: ++this.#version, type: 'DELETED', object: { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } }, service })
  }

  bookmark (): void {
    for (const { response } of this.#watchers) response.write(this.#line('BOOKMARK', { kind: 'EndpointSlice', metadata: { resourceVersion: String(++this.#version) } }))
  }

  /** Forgets all changes up to now, and the pages of running lists. */
  compact (): void {
    this.#compacted = this.#version
    this.#changes = []
    this.#snapshots.clear()
  }

  /** Ends the running watches: as time does, in the middle of a line, or with an error event. */
  end (how: 'time' | 'broken' | { readonly code: number; readonly message: string }): void {
    for (const watcher of this.#watchers) {
      const { response } = watcher
      this.#watchers.delete(watcher)
      if (how === 'time') response.end()
      else if (how === 'broken') {
        response.write('{"type":"MODIFIED","obj')
        setImmediate(() => response.destroy())
      } else response.end(this.#line('ERROR', { kind: 'Status', status: 'Failure', ...how }))
    }
  }

  #tell (change: Change): void {
    this.#changes.push(change)
    const line = this.#line(change.type, change.object)
    for (const { service, response } of this.#watchers) {
      if (service !== change.service) continue
      if (this.garble) response.end(`${line}{"type":\n`)
      else response.write(line)
    }
    this.garble = false
  }

  readonly #line = (type: Kind | 'ERROR', object: object): string => `${JSON.stringify({ type, object })}\n`

  #status (response: ServerResponse, code: number, message: string): void {
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify({ kind: 'Status', status: 'Failure', code, message }))
  }

  #handle (request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, this.url)
    const query = url.searchParams
    this.requests.push(`${query.get('watch') === 'true' ? 'watch' : 'list'} ${query.get('resourceVersion') ?? query.get('continue') ?? ''}`.trim())
    if (this.outage !== 0) return this.#status(response, this.outage, 'out of order')
    if (this.token !== '' && request.headers.authorization !== `Bearer ${this.token}`) return this.#status(response, 401, 'Unauthorized')
    if (url.pathname !== '/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices') return this.#status(response, 404, 'not found')
    const service = /^kubernetes\.io\/service-name=(.+)$/.exec(query.get('labelSelector') ?? '')?.[1] ?? ''
    if (query.get('watch') === 'true') return this.#watch(response, service, Number(query.get('resourceVersion')))
    const token = query.get('continue')
    const given = token === null ? undefined : this.#snapshots.get(token.split('/')[0]!)
    if (token !== null && given === undefined) return this.#status(response, 410, 'The provided continue parameter is too old')
    const snapshot = given ?? { version: this.#version, items: [...this.#slices.values()].filter(({ metadata }) => metadata.labels['kubernetes.io/service-name'] === service) }
    const name = token?.split('/')[0] ?? String(this.#snapshots.size + 1)
    this.#snapshots.set(name, snapshot)
    const from = Number(token?.split('/')[1] ?? 0)
    const to = from + Math.min(Number(query.get('limit') ?? Infinity), this.pageLimit)
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({
      kind: 'EndpointSliceList', items: snapshot.items.slice(from, to),
      metadata: { resourceVersion: String(snapshot.version), ...to < snapshot.items.length && { continue: `${name}/${to}` } }
    }))
  }

  #watch (response: ServerResponse, service: string, from: number): void {
    if (from < this.#compacted) {
      // Real servers do it either way, by where the version is found to be too old.
      if (this.gone === 'status') return this.#status(response, 410, 'too old resource version')
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(this.#line('ERROR', { kind: 'Status', status: 'Failure', code: 410, message: `too old resource version: ${from}` }))
      return
    }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    for (const change of this.#changes) if (change.version > from && change.service === service) response.write(this.#line(change.type, change.object))
    const watcher = { service, response }
    this.#watchers.add(watcher)
    response.on('close', () => this.#watchers.delete(watcher))
  }
}
