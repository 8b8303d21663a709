import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { RedirectListenError } from './errors.ts'
import type { MaybePromise } from './options.ts'

/** Where ACME looks for the answers of HTTP-01 (RFC 8555 8.3). */
const CHALLENGES = '/.well-known/acme-challenge/'
const TOKEN = /^[\w-]{1,512}$/
const HOST = /^(?:([\w.-]{1,253})|(\[[\da-fA-F:.]{2,45}\]))(?::\d{1,5})?$/

export interface RedirectSettings {
  /** Port of the address to go to. */
  readonly port: () => number
  readonly challenge: (token: string) => MaybePromise<string | undefined>
  readonly failed: (error: unknown) => void
}

/** A server for plain HTTP that answers challenges, and sends everybody else to the same address by HTTPS: 308 keeps method and body. */
export class Redirect {
  readonly #where: { readonly host: string; readonly port: number }
  readonly #answer: (request: IncomingMessage, response: ServerResponse) => void
  #server: Server | undefined

  constructor (where: { readonly host: string; readonly port: number }, settings: RedirectSettings) {
    this.#where = where
    this.#answer = (request, response) => { void answer(request, response, settings) }
  }

  /** `http://host:port` while it listens. */
  get address (): string | undefined {
    const bound = this.#server?.address() as AddressInfo | null | undefined
    return bound === null || bound === undefined ? undefined : `http://${bound.address.includes(':') ? `[${bound.address}]` : bound.address}:${bound.port}`
  }

  /** Are both for the same address? Then only one of them can listen. */
  isAt (other: Redirect | undefined): boolean {
    return other !== undefined && other.#server !== undefined && other.#where.host === this.#where.host && other.#where.port === this.#where.port
  }

  /** Rejects with `HG_TLS_REDIRECT_LISTEN`. */
  async open (): Promise<void> {
    const server = createServer({ headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5000, keepAliveTimeout: 5000 }, this.#answer)
    server.on('clientError', (_error, socket) => { socket.destroy() })
    const { host, port } = this.#where
    await new Promise<void>((resolve, reject) => {
      const failed = (error: Error): void => { reject(new RedirectListenError(`${host}:${port}`, error.message)) }
      server.once('error', failed)
      server.listen(this.#where, () => {
        server.off('error', failed)
        resolve()
      })
    })
    this.#server = server
  }

  /** Goes on where another one listens, which has nothing to do with it from then on. */
  takeOver (other: Redirect): void {
    const server = other.#server!
    other.#server = undefined
    server.off('request', other.#answer)
    server.on('request', this.#answer)
    this.#server = server
  }

  async close (): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    server.closeAllConnections()
    await new Promise((resolve) => { server.close(resolve) })
  }
}

async function answer (request: IncomingMessage, response: ServerResponse, settings: RedirectSettings): Promise<void> {
  // Nobody reads a body here.
  request.resume()
  // Absolute form names the host a second time; RFC 9112 3.2.2 wants that one used.
  const [, authority = request.headers.host ?? '', target = ''] = /^(?:http:\/\/([^/?#]*))?([^#]*)/i.exec(request.url ?? '') ?? []
  if (target.startsWith(CHALLENGES)) return challenge(target.slice(CHALLENGES.length), response, settings)
  const [, name, literal] = HOST.exec(authority) ?? []
  const host = name ?? literal
  if (host === undefined) return end(response, 400, 'A valid Host is needed to redirect to HTTPS\n')
  const port = settings.port()
  const path = target.startsWith('/') ? target : `/${target === '*' ? '' : target}`
  response.setHeader('location', `https://${host}${port === 443 ? '' : `:${port}`}${path}`)
  end(response, 308, '')
}

async function challenge (token: string, response: ServerResponse, settings: RedirectSettings): Promise<void> {
  try {
    const text = TOKEN.test(token) ? await settings.challenge(token) : undefined
    if (text === undefined) end(response, 404, 'There is no such challenge\n')
    else end(response, 200, text)
  } catch (error) {
    settings.failed(error)
    end(response, 500, 'The challenge could not be looked up\n')
  }
}

function end (response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store' })
  response.end(text)
}
