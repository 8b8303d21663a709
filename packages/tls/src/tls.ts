import type { IncomingMessage, RequestListener, Server as HttpServer } from 'node:http'
import type { Socket } from 'node:net'
import type { SecureContext, SecureContextOptions, Server, TlsOptions as NodeTlsOptions, TLSSocket } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import { channels, type Clock, Deadlines, FileWatch, HTTP2_LIMIT, type Http2LimitMessage, Peers, systemClock } from '@headgate/core'
import type { FastifyBaseLogger } from 'fastify'
import { Acme } from './acme/acme.ts'
import { Certificate } from './certificate.ts'
import { CLIENT_TRUST, type ClientTrust, loadTrust, trustFiles } from './client-trust.ts'
import { describe } from './client-certificate.ts'
import { CertificateError } from './errors.ts'
import { ExpiryWatch, tell } from './expiry.ts'
import { Staples } from './ocsp/staples.ts'
import { Gate } from './gate.ts'
import { hostName } from './host-index.ts'
import { misdirectedHost } from './misdirected.ts'
import { type CertificateOptions, checkTls, nameOf, type ProvidedCertificate, type TlsOptions } from './options.ts'
import { isPath, readPem } from './pem.ts'
import { answerPlainHttp, looksLikeHttp } from './plain-http.ts'
import { profileOptions } from './profiles.ts'
import { Provider } from './provider.ts'
import type { Redirect } from './redirect.ts'
import { type FactoryOptions, NO_TICKETS, secureServer } from './server.ts'
import { sendUnrecognizedName, type SniCallback, sniOf } from './sni.ts'
import { CertificateStore } from './store.ts'
import { TicketKeys } from './tickets.ts'

/** What a reload made of one certificate. */
export interface ReloadResult {
  readonly name: string
  readonly result: 'loaded' | 'unchanged' | 'failed'
  /** Why it failed; '' when it did not. The one from before is still in use. */
  readonly reason: string
}

/** What is known of one certificate. */
export interface CertificateStatus {
  readonly name: string
  readonly hosts: readonly string[]
  readonly subject: string
  readonly issuer: string
  /** SHA-256, upper-case hexadecimal with colons. */
  readonly fingerprint: string
  readonly notBefore: Date
  readonly notAfter: Date
}

/** A fixed name: tickets are good on every machine and in every process that has their key. */
const SESSION_CONTEXT = 'headgate'
const WARN_BEFORE = 21 * 86_400_000
/** Milliseconds in which a certificate and its key may change together. */
const SETTLE = 200

/** Certificates, keys of tickets, and the servers that use them. */
export class Tls {
  readonly options: TlsOptions
  readonly clock: Clock
  readonly acme: Acme | undefined
  /** Whose servers it is to take over; `undefined` once that is done. */
  before: Tls | undefined
  /** The listener that redirects; there from when the app is ready, where one is wanted. */
  redirect: Redirect | undefined
  #gate: Gate
  #successor: Tls | undefined
  readonly #store: CertificateStore
  readonly #provider: Provider | undefined
  readonly #tickets: TicketKeys | undefined
  readonly #staples: Staples | undefined
  readonly #base: SecureContextOptions
  readonly #servers = new Set<Server>()
  /** Texts of the last errors by certificate: each is logged once. */
  readonly #failures = new Map<string, string>()
  #trust: ClientTrust | undefined
  #log: FastifyBaseLogger | undefined
  #watch: FileWatch | undefined
  #expiry: ExpiryWatch | undefined
  #reloading: Promise<ReloadResult[]> = Promise.resolve([])
  /** Certificates that were set or removed at run time: files have no more say in them. */
  readonly #manual = new Set<string>()

  private constructor (options: TlsOptions, before?: Tls) {
    checkTls(options, 'options')
    this.before = before
    this.options = options
    this.clock = options.clock ?? systemClock
    const { tickets = {}, proxyProtocol } = options
    this.#base = {
      ...profileOptions(options.profile ?? 'intermediate'),
      sessionIdContext: SESSION_CONTEXT,
      ...tickets === false ? { secureOptions: NO_TICKETS } : { sessionTimeout: Math.round((tickets.lifetime ?? 7_200_000) / 1000) }
    }
    this.#store = new CertificateStore(this.#base, options.default)
    if (tickets !== false) this.#tickets = new TicketKeys(tickets.rotate ?? 28_800_000, tickets.store, this.clock)
    if (options.provider !== undefined) {
      this.#provider = new Provider(options.provider, this.clock, (certificate) => this.#store.createContext(certificate), (host, error) => {
        this.#log?.error({ err: error, host }, 'the provider gave no certificate that could be used')
      })
    }
    if (options.acme !== undefined) {
      this.acme = new Acme({
        options: options.acme,
        clock: this.clock,
        random: options.random ?? Math.random,
        load: (name, pem, hosts) => this.#load({ cert: pem, key: pem, hosts }, name),
        current: (name) => this.#store.get(name),
        use: (certificate) => { this.#use(certificate) },
        failed: (name, error) => { this.#report(name, error, 'a certificate could not be got from the ACME authority') }
      })
    }
    if (options.stapling !== false) {
      this.#staples = new Staples(this.clock, ({ name, mustStaple }, error) => {
        this.#log?.[mustStaple ? 'error' : 'warn']({ err: error, certificate: name }, 'no OCSP response could be got to staple')
      })
    }
    this.#gate = new Gate({
      proxyProtocol: proxyProtocol === undefined
        ? undefined
        : { peers: new Peers(proxyProtocol.from, 'options.proxyProtocol.from'), closeOthers: proxyProtocol.others !== 'plain' },
      timeout: options.handshakeTimeout ?? 10_000,
      deadlines: new Deadlines(this.clock),
      inspect: this.#inspect,
      refused: (reason, socket) => { this.#log?.debug({ reason, remoteAddress: socket.remoteAddress }, 'a connection was closed before TLS') }
    })
  }

  /** Reads and checks what is listed, and neither writes nor asks anything. Throws as {@link create} does. */
  static async check (options: TlsOptions, before?: Tls): Promise<Tls> {
    const tls = new Tls(options, before)
    for (const [index, certificate] of (options.certificates ?? []).entries()) {
      tls.#store.set(await tls.#load(certificate, nameOf(certificate, index)))
    }
    if (options.clientCertificates !== undefined) tls.#trusts(await loadTrust(options.clientCertificates))
    return tls
  }

  /** Reads and checks all certificates. Throws `HG_POOL_INVALID_OPTION` and `HG_TLS_CERTIFICATE`. */
  static async create (options: TlsOptions, before?: Tls): Promise<Tls> {
    const tls = await Tls.check(options, before)
    await tls.acme?.prepare()
    // A store that is away keeps nobody from serving: it is asked again from the start on.
    await tls.#tickets?.renew().catch(() => {})
    return tls
  }

  /** A server for Fastify's `serverFactory`. */
  createServer (handler: RequestListener, fastify: FactoryOptions): HttpServer {
    const { http2 = true } = this.options
    const server = secureServer({
      options: this.serverOptions(),
      http2: http2 === false ? undefined : http2 === true ? {} : http2,
      gate: this.#gate,
      clock: this.clock,
      limited: this.#limited,
      failed: this.#failed,
      admit: this.admit
    }, handler, fastify)
    this.adopt(server)
    return server as HttpServer
  }

  /** What `tls.createServer` takes, for servers made elsewhere: give them to {@link adopt} as well, and ask {@link admit} of each handshake. */
  serverOptions (): NodeTlsOptions {
    const { clientCertificates, handshakeTimeout = 10_000 } = this.options
    return {
      ...this.#store.defaults,
      SNICallback: this.#sni,
      handshakeTimeout,
      ...clientCertificates !== undefined && { requestCert: true, rejectUnauthorized: false }
    }
  }

  /** Keeps a server's default certificate and the key of its tickets up to date. */
  adopt (server: Server): void {
    this.#servers.add(server)
    this.#staple(server)
    server.on('close', () => { this.current.#servers.delete(server) })
    this.#giveTicketKey(server)
  }

  /** Who answers now for servers that were made here: the last of those that took over. */
  get current (): Tls {
    return this.#successor === undefined ? this : this.#successor = this.#successor.current
  }

  /** `http://host:port` of the listener that redirects; `undefined` while there is none. */
  get redirectAddress (): string | undefined { return this.redirect?.address }

  /**
   * Takes the servers of `before`: new connections see these options, open ones go on. What servers were made with stays: see `keptOptions`.
   * Cannot fail.
   */
  takeOver (): void {
    const before = this.before!
    this.before = undefined
    before.#successor = this
    before.#gate.settings = this.#gate.settings
    this.#gate = before.#gate
    if (before.#tickets !== undefined) this.#tickets?.follow(before.#tickets)
    for (const server of before.#servers) {
      this.#servers.add(server)
      if (server.listenerCount('OCSPRequest') === 0) this.#staple(server)
    }
    before.#servers.clear()
    this.#keepManual(before)
    this.#refresh()
    for (const certificate of before.#store.all) if (this.#store.get(certificate.name) === undefined) tell(certificate, 'removed')
    if (this.redirect?.isAt(before.redirect) === true) {
      this.redirect.takeOver(before.redirect!)
      this.#log?.info({ address: this.redirectAddress }, 'redirecting to HTTPS')
    }
  }

  /** What was set or removed at run time stays so, unless the options say something else of it by now. */
  #keepManual (before: Tls): void {
    for (const name of before.#manual) {
      if (!isDeepStrictEqual(before.#listed(name), this.#listed(name))) continue
      const certificate = before.#store.get(name)
      this.#manual.add(name)
      if (certificate !== undefined) {
        this.#store.set(certificate)
        this.#follow(certificate)
      } else if (this.#store.get(name) !== undefined) {
        this.#store.remove(name)
        this.#staples?.forget(name)
      }
    }
  }

  /** What the options say of a certificate. */
  #listed (name: string): CertificateOptions | undefined {
    return this.options.certificates?.find((certificate, index) => nameOf(certificate, index) === name)
  }

  /** Closes whoever is still in the handshake, unless another one answers for them. */
  closeGate (): void {
    if (this.#successor === undefined) this.#gate.close()
  }

  #staple (server: Server): void {
    if (this.#staples === undefined) return
    server.on('OCSPRequest', (certificate: Buffer, _issuer, callback) => { callback(null, this.current.#stapleFor(certificate) as Buffer) })
  }

  /** Node names one of the certificates that a host has, not the one that is shown. */
  #stapleFor (certificate: Buffer): Buffer | null {
    return this.#staples === undefined || this.#store.isPaired(certificate) ? null : this.#staples.find(certificate)
  }

  /** Watches files and the time from here on. */
  start (log: FastifyBaseLogger): void {
    this.#log = log
    const { reload = {}, warnBefore = WARN_BEFORE } = this.options
    for (const certificate of this.#store.all) {
      tell(certificate, 'loaded')
      this.#follow(certificate)
    }
    this.#expiry = new ExpiryWatch(() => this.#store.all, warnBefore, this.clock, log)
    this.#expiry.start()
    this.#tickets?.start(() => { for (const server of this.#servers) this.#giveTicketKey(server) }, (error) => {
      log.warn({ err: error }, 'the store of ticket keys failed: the last key stays in use')
    })
    const files = this.#files()
    if (reload !== false && files.length > 0) {
      this.#watch = new FileWatch(files, { interval: reload.interval ?? 60_000, settle: SETTLE, clock: this.clock }, () => void this.reload())
    }
  }

  stop (): void {
    this.#watch?.stop()
    this.#expiry?.stop()
    this.#tickets?.stop()
    this.acme?.stop()
    this.#staples?.stop()
    this.closeGate()
  }

  /** All certificates but those of the provider. */
  get certificates (): CertificateStatus[] {
    return this.#store.all.map(({ name, hosts, leaf, fingerprint, notBefore, notAfter }) => ({
      name, hosts, fingerprint, subject: leaf.subject ?? '', issuer: leaf.issuer, notBefore: new Date(notBefore), notAfter: new Date(notAfter)
    }))
  }

  /** Reads all files again, and forgets what the provider said. What cannot be used leaves the one from before. Never rejects. */
  reload (): Promise<ReloadResult[]> {
    // After one that runs already: that may have read files before they were changed.
    return this.#reloading = this.#reloading.then(() => this.#reload())
  }

  /** Adds a certificate, or replaces the one of this name, from the next handshake on. Throws `HG_TLS_CERTIFICATE`; the one from before then stays. */
  async set (name: string, certificate: ProvidedCertificate & { readonly hosts?: readonly string[] }): Promise<void> {
    this.#use(await this.#load(certificate, name))
    this.#manual.add(name)
  }

  /** Throws `HG_TLS_UNKNOWN_CERTIFICATE`. */
  remove (name: string): void {
    tell(this.#store.remove(name), 'removed')
    this.#staples?.forget(name)
    this.#manual.add(name)
    this.#refresh()
  }

  /** The host of a request that belongs on another connection; '' for one that is where it should be. */
  misdirectedHost (raw: IncomingMessage): string {
    return misdirectedHost(raw, this.#store, this.#provider !== undefined, this.options.unknownHost === 'refuse')
  }

  /** Forgets what the provider said of a host. */
  forget (host: string): void {
    this.#provider?.forget(hostName(host))
  }

  async #load ({ cert, key, passphrase, hosts }: Omit<CertificateOptions, 'name'>, name: string): Promise<Certificate> {
    let texts: [Buffer, Buffer]
    try {
      texts = await Promise.all([readPem(cert), readPem(key)])
    } catch (error) {
      throw new CertificateError(name, (error as Error).message)
    }
    return new Certificate(name, { cert: texts[0], key: texts[1], passphrase, hosts }, this.clock.wall())
  }

  async #reload (): Promise<ReloadResult[]> {
    this.#provider?.forget()
    const results: ReloadResult[] = []
    for (const [index, options] of (this.options.certificates ?? []).entries()) {
      const name = nameOf(options, index)
      if ((!isPath(options.cert) && !isPath(options.key)) || this.#manual.has(name)) continue
      results.push(await this.#again(name, async () => {
        const before = this.#store.get(name)
        const certificate = await this.#load(options, name)
        if (before !== undefined && before.parts.cert.equals(certificate.parts.cert) && before.parts.key.equals(certificate.parts.key)) return false
        this.#use(certificate)
        return true
      }))
    }
    const { clientCertificates } = this.options
    if (clientCertificates !== undefined && trustFiles(clientCertificates).length > 0) {
      results.push(await this.#again(CLIENT_TRUST, async () => {
        const trust = await loadTrust(clientCertificates)
        if (trust.digest === this.#trust?.digest) return false
        this.#trusts(trust)
        this.#log?.info('what clients\' certificates are checked with was loaded again')
        return true
      }))
    }
    return results
  }

  async #again (name: string, load: () => Promise<boolean>): Promise<ReloadResult> {
    try {
      const loaded = await load()
      this.#failures.delete(name)
      return { name, result: loaded ? 'loaded' : 'unchanged', reason: '' }
    } catch (error) {
      const reason = this.#report(name, error, 'the one from before stays in use')
      return { name, result: 'failed', reason }
    }
  }

  /** Staples to a certificate from when the app is ready on: before, nobody is asked anything. */
  #follow (certificate: Certificate): void {
    if (this.#log === undefined) return
    this.#staples?.follow(certificate)
    const { name, mustStaple, responder, issuer } = certificate
    if (mustStaple && (responder === '' || issuer === undefined)) {
      this.#log.error({ certificate: name }, 'clients insist on an OCSP response for it, and there is no responder in it, or its issuer did not come along')
    }
  }

  /** Logs and tells of a failure, once for each reason. */
  #report (name: string, error: unknown, text: string): string {
    const reason = (error as Error).message
    if (this.#failures.get(name) === reason) return reason
    this.#failures.set(name, reason)
    this.#log?.error({ err: error, certificate: name }, text)
    const before = this.#store.get(name)
    if (before !== undefined) tell(before, 'failed', reason)
    else if (channels.certificate.hasSubscribers) channels.certificate.publish({ name, change: 'failed', hosts: [], fingerprint: '', notAfter: NaN, reason })
    return reason
  }

  #use (certificate: Certificate): void {
    const lost = this.#store.set(certificate)
    const { name, hosts, fingerprint, notAfter } = certificate
    if (lost.length > 0) this.#log?.warn({ certificate: name, hosts: lost }, 'an earlier certificate is shown for these hosts')
    this.#log?.info({ certificate: name, hosts, fingerprint, notAfter: new Date(notAfter).toISOString() }, 'certificate loaded')
    tell(certificate, 'loaded')
    this.#follow(certificate)
    this.#refresh()
  }

  #trusts (trust: ClientTrust): void {
    this.#trust = trust
    this.#store.base = { ...this.#base, ...trust.options }
    this.#provider?.forget()
    this.#refresh()
  }

  #refresh (): void {
    const options = this.#store.defaults
    for (const server of this.#servers) {
      server.setSecureContext(options)
      // A new context has a ticket key of its own.
      this.#giveTicketKey(server)
    }
  }

  #giveTicketKey (server: Server): void {
    if (this.#tickets !== undefined) server.setTicketKeys(this.#tickets.key(this.#trust?.digest ?? ''))
  }

  #files (): string[] {
    const { certificates = [], clientCertificates } = this.options
    return [...certificates.flatMap(({ cert, key }) => [cert, key]).filter(isPath), ...clientCertificates === undefined ? [] : trustFiles(clientCertificates)]
  }

  /** Node calls it with the connection as `this`. */
  #choose (socket: TLSSocket | undefined, name: string, callback: SniCallback): void {
    const host = hostName(name)
    let context: SecureContext | undefined | Promise<SecureContext | undefined>
    try {
      context = this.#store.contextFor(host, socket) ?? (host === '' ? undefined : this.#provider?.contextFor(host))
    } catch (error) {
      return callback(error as Error)
    }
    if (!(context instanceof Promise)) return this.#chosen(socket, context, callback)
    const answer = (found: SecureContext | undefined): void => { this.#chosen(socket, found, callback) }
    void context.then(answer)
  }

  #chosen (socket: TLSSocket | undefined, context: SecureContext | undefined, callback: SniCallback): void {
    if (context !== undefined || this.options.unknownHost !== 'refuse') return callback(null, context)
    if (socket !== undefined) sendUnrecognizedName(socket)
    callback(new Error('no certificate for this host'))
  }

  readonly #sni = sniOf((socket, name, callback) => { this.current.#choose(socket, name, callback) })

  readonly #inspect = (first: Buffer, socket: Socket): 'pass' | 'more' | 'taken' => {
    if (!looksLikeHttp(first)) return this.acme === undefined ? 'pass' : this.acme.inspect(first, socket)
    this.#log?.debug({ remoteAddress: socket.remoteAddress }, 'plain HTTP on the port for TLS')
    answerPlainHttp(socket, (callback, ms) => this.clock.setTimeout(callback, ms))
    return 'taken'
  }

  readonly #limited = (message: Http2LimitMessage): void => {
    this.current.#log?.[message.closed ? 'warn' : 'debug'](message, HTTP2_LIMIT)
  }

  readonly #failed = (error: Error & { code?: string }, socket: TLSSocket): void => {
    this.current.#log?.debug({ code: error.code, reason: error.message, remoteAddress: socket.remoteAddress, host: socket.servername }, 'a TLS handshake failed')
  }

  /** Whether a client that has finished its handshake may come in. */
  readonly admit = (socket: TLSSocket): boolean => {
    if (this.#successor !== undefined) return this.current.admit(socket)
    const { clientCertificates } = this.options
    if (clientCertificates === undefined) return true
    // The socket's own word alone will not do: of a resumed session without any certificate Node says that it is authorized.
    const shown = describe(socket)
    if (shown === null ? clientCertificates.verify !== 'require' : shown.authorized || clientCertificates.verify === 'any') return true
    this.#log?.info({ remoteAddress: socket.remoteAddress, reason: shown?.reason ?? 'none', subject: shown?.subject }, "a client's certificate was refused")
    return false
  }
}
