import { readFile } from 'node:fs/promises'
import { refuse } from '../options.ts'
import type { Discovery, DiscoveryKind, DiscoverySite } from './contract.ts'
import { type EndpointSlice, EndpointSlices } from './endpoint-slices.ts'
import { bracketed, type MemberProtocol, protocolSchema, timeSchema } from './options.ts'
import { again } from './pace.ts'
import { apiSchema, jsonOf, linesOf, Source, StatusError } from './source.ts'

export interface KubernetesDiscoveryOptions {
  /** Name of the service; a headless one will do. */
  readonly service: string
  /** @default the one that this pod runs in */
  readonly namespace?: string
  /** Name of the port in the service, or the number that pods listen at. @default the first */
  readonly port?: string | number
  /** How members are spoken to. @default the pool's: `http`, or `tcp` at layer 4 */
  readonly protocol?: MemberProtocol
  /** Address of the API server. @default that of the cluster that this pod runs in */
  readonly url?: string
  /** File with a service account's token, read for each request since it changes. @default the pod's */
  readonly tokenFile?: string
  /** File with the certificate authority of the API server. @default the pod's */
  readonly caFile?: string
  /** Milliseconds that one watch lasts, 1,000–3,600,000; a new one follows. @default 300000 */
  readonly watchTimeout?: number
}

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
/** Slices asked for at once. */
const PAGE = 500
/** Milliseconds for the API server's answers. */
const PATIENCE = 30_000
/** Milliseconds to the next watch: a server that ends each at once must not be asked in a tight loop. */
const LEAST = 100

interface List { readonly metadata: { readonly resourceVersion: string; readonly continue?: string }; readonly items: readonly EndpointSlice[] }

type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'; readonly object: EndpointSlice }
  | { readonly type: 'ERROR'; readonly object: { readonly code?: number; readonly message?: string } }

/** What we know is too old for the API server: all has to be listed anew. */
class Expired extends Error {}

/** A port that nobody has is a mistake in the options or in the service: whom we had stays. */
function tell (site: DiscoverySite, slices: EndpointSlices): void {
  const { missingPort } = slices
  if (missingPort === undefined) site.update(slices.members())
  else site.failed(new Error(missingPort))
}

/**
 * Lists the service's EndpointSlices, then watches them from that version on. See "Efficient detection of changes" in the Kubernetes API
 * concepts.
 */
class KubernetesDiscovery implements Discovery {
  readonly name = 'kubernetes'
  readonly #options: KubernetesDiscoveryOptions
  readonly #url: string
  #version: string | undefined
  #known: Source | undefined
  #ca: string | undefined

  constructor (options: KubernetesDiscoveryOptions, url: string) {
    this.#options = options
    this.#url = url
  }

  async start (site: DiscoverySite): Promise<void> {
    const { service, protocol = site.scheme, port } = this.#options
    const slices = new EndpointSlices(protocol, port)
    await again(site, async () => {
      try {
        const source = await this.#source()
        const path = `/apis/discovery.k8s.io/v1/namespaces/${encodeURIComponent(await this.#namespace())}/endpointslices`
        const query = { labelSelector: `kubernetes.io/service-name=${service}` }
        if (this.#version === undefined) await this.#list(source, site, slices, path, query)
        await this.#watch(source, site, slices, path, query)
      } catch (error) {
        if (error instanceof Expired || (error instanceof StatusError && error.status === 410)) {
          this.#version = undefined
          return LEAST
        }
        throw error
      }
      return LEAST
    })
  }

  /** The same one, until the certificate authority is another. Asked for each time: a file that is not there yet may come. */
  async #source (): Promise<Source> {
    const { tokenFile = `${ACCOUNT}/token`, caFile = `${ACCOUNT}/ca.crt` } = this.#options
    const secure = this.#url.startsWith('https:')
    const ca = secure ? await readFile(caFile, 'utf8') : undefined
    if (this.#known !== undefined && ca === this.#ca) return this.#known
    this.#ca = ca
    return this.#known = new Source(this.#url, ca === undefined ? {} : { ca }, async () => {
      // Without TLS it is a proxy of this machine, which has credentials of its own.
      if (!secure && this.#options.tokenFile === undefined) return {}
      return { authorization: `Bearer ${(await readFile(tokenFile, 'utf8')).trim()}` }
    })
  }

  async #namespace (): Promise<string> {
    return this.#options.namespace ?? (await readFile(`${ACCOUNT}/namespace`, 'utf8')).trim()
  }

  async #list (source: Source, site: DiscoverySite, slices: EndpointSlices, path: string, query: Record<string, string>): Promise<void> {
    const names = new Set<string>()
    let next = ''
    let version: string
    do {
      const parameters = new URLSearchParams({ ...query, limit: String(PAGE), ...next !== '' && { continue: next } })
      const answer = await source.get(`${path}?${parameters.toString()}`, { signal: site.signal, headTimeout: PATIENCE, idleTimeout: PATIENCE })
      const { metadata, items } = await jsonOf(answer) as List
      for (const slice of items) {
        names.add(slice.metadata.name)
        slices.set(slice)
      }
      next = metadata.continue ?? ''
      version = metadata.resourceVersion
    } while (next !== '')
    slices.keepOnly(names)
    this.#version = version
    tell(site, slices)
  }

  async #watch (source: Source, site: DiscoverySite, slices: EndpointSlices, path: string, query: Record<string, string>): Promise<void> {
    const { watchTimeout = 300_000 } = this.#options
    const parameters = new URLSearchParams({
      ...query, watch: 'true', allowWatchBookmarks: 'true', resourceVersion: this.#version!, timeoutSeconds: String(Math.ceil(watchTimeout / 1000))
    })
    // The server ends it in time; a connection that died without a word is found by its silence.
    const answer = await source.get(`${path}?${parameters.toString()}`, { signal: site.signal, headTimeout: PATIENCE, idleTimeout: watchTimeout + PATIENCE })
    if (answer.status !== 200) throw new StatusError(answer.status, await answer.text())
    // What is known holds: an outage before is over.
    tell(site, slices)
    for await (const lines of linesOf(answer.chunks())) {
      let changed = false
      try {
        for (const line of lines) if (line !== '' && this.#apply(JSON.parse(line) as WatchEvent, slices)) changed = true
      } finally {
        // What came before a broken line is not told again.
        if (changed) tell(site, slices)
      }
    }
  }

  /** True when members may have changed. */
  #apply (event: WatchEvent, slices: EndpointSlices): boolean {
    if (event.type === 'ERROR') {
      const { code, message = 'no reason' } = event.object
      // Whatever it is, the list is the way out of it.
      this.#version = undefined
      throw code === 410 ? new Expired(message) : new Error(`the watch failed: ${message}`)
    }
    const { metadata } = event.object
    if (event.type === 'DELETED') slices.delete(metadata.name)
    else if (event.type !== 'BOOKMARK') slices.set(event.object)
    this.#version = metadata.resourceVersion ?? this.#version
    return event.type !== 'BOOKMARK'
  }
}

function clusterUrl (): string | undefined {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = process.env
  return host === undefined || host === '' ? undefined : `https://${bracketed(host)}:${port}`
}

const NAME = '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'

/** Ready endpoints of a service. */
export const kubernetes: DiscoveryKind<KubernetesDiscoveryOptions> = {
  type: 'kubernetes',
  describe: "The endpoints of a Kubernetes service, with their zones, watched through the cluster's API server.",
  properties: {
    service: { type: 'string', pattern: NAME },
    namespace: { type: 'string', pattern: NAME },
    port: { anyOf: [{ type: 'string', minLength: 1 }, { type: 'integer', minimum: 1, maximum: 65_535 }] },
    protocol: protocolSchema,
    url: apiSchema,
    tokenFile: { type: 'string', minLength: 1 },
    caFile: { type: 'string', minLength: 1 },
    watchTimeout: timeSchema(1000, 3_600_000)
  },
  required: ['service'],
  keepWhenEmpty: false,
  create (options, path) {
    const url = options.url ?? clusterUrl() ?? refuse(`${path}.url`, 'is required outside of a cluster', undefined)
    return new KubernetesDiscovery(options, url)
  }
}
