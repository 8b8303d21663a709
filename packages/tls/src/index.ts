import type { FastifyPluginAsync, FastifyServerFactory, FastifyServerOptions } from 'fastify'
import type { ClientCertificate } from './client-certificate.ts'
import type { TlsOptions } from './options.ts'
import { fieldsFor, pluginFor } from './plugin.ts'
import { Tls } from './tls.ts'

export type { ClientCertificate } from './client-certificate.ts'
export type { AcmeCertificateOptions, AcmeOptions, ExternalAccountOptions } from './acme/options.ts'
export type { AcmeStore } from './acme/shared-storage.ts'
export * from './errors.ts'
export * from './options.ts'
export type { PemOrFile } from './pem.ts'
export type { Profile } from './profiles.ts'
export { keptOptions } from './kept.ts'
export { fileTicketStore, type TicketStore } from './tickets.ts'
export type { CertificateStatus, ReloadResult, Tls } from './tls.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Certificates at run time. */
    tls: Tls
  }
  interface FastifyRequest {
    /** What the client has shown of itself; `null` when it has shown nothing, or was not asked. */
    readonly clientCertificate: ClientCertificate | null
  }
}

/** An app's way to TLS: `fastify({ ...edge.server })`, then `app.register(edge.plugin)`. */
export interface Edge {
  /** Options for `fastify()`: the server. With HTTP/2 too it is typed as HTTP/1.1's, so that plugins fit. */
  readonly server: Pick<FastifyServerOptions, 'serverFactory'>
  readonly plugin: FastifyPluginAsync
  /** The plugin's fields and headers alone, for further apps behind the same server: start and end are those of one app with `plugin`. */
  readonly fields: FastifyPluginAsync
  /** Certificates at run time: `app.tls` of the app. */
  readonly tls: Tls
}

/**
 * Reads and checks certificates, and makes what a Fastify app needs to be served by TLS.
 * `before`: whose servers it is to take over while they run, once `tls.takeOver()` is called (see {@link keptOptions}).
 * Throws `HG_POOL_INVALID_OPTION`, `HG_TLS_CERTIFICATE`.
 */
export async function createTls (options: TlsOptions, before?: Edge): Promise<Edge> {
  const tls = await Tls.create(options, before?.tls)
  const serverFactory: FastifyServerFactory = (handler, fastify) => tls.createServer(handler as never, fastify as never)
  // By `https` Fastify knows which scheme its log lines are to show.
  const server = { https: {}, http2: tls.options.http2 !== false, serverFactory }
  return { server, plugin: pluginFor(tls), fields: fieldsFor(tls), tls }
}

/** Reads and checks what {@link createTls} would, and starts, writes and asks nothing. Throws as it does. */
export async function checkCertificates (options: TlsOptions): Promise<void> {
  await Tls.check(options)
}
