import type { SecureServerOptions } from 'node:http2'
import { checkOptions, type Clock, type Http2Limits, http2LimitsSchema, type OptionUnit, refuse } from '@headgate/core'
import type { SchemaObject } from 'ajv'
import { acmeName, type AcmeOptions, acmeSchema, checkAcme } from './acme/options.ts'
import { isHostPattern } from './host-index.ts'
import type { PemOrFile } from './pem.ts'
import { type Profile, profiles } from './profiles.ts'
import type { TicketStore } from './tickets.ts'

export type MaybePromise<T> = T | Promise<T>

export interface CertificateOptions {
  /** For logs, metrics and changes at run time. @default `certificates[0]` … */
  readonly name?: string
  /** PEM of the certificate and of those between it and the root, in this order; or the path of a file with it. */
  readonly cert: PemOrFile
  /** PEM of the private key, or the path of a file with it. */
  readonly key: PemOrFile
  /** Opens an encrypted key. */
  readonly passphrase?: string
  /** Host names to show it for; `*.example.com` for one label. @default those that it was issued for */
  readonly hosts?: readonly string[]
}

/** A certificate that a provider found. */
export interface ProvidedCertificate {
  /** PEM, as in {@link CertificateOptions}. */
  readonly cert: PemOrFile
  readonly key: PemOrFile
  readonly passphrase?: string
}

export interface ProviderOptions {
  /**
   * Asked for the certificate of a host (lower case) that none of `certificates` is for; `undefined`: there is none. Asked once for
   * all handshakes that wait for the same host.
   */
  readonly find: (host: string) => MaybePromise<ProvidedCertificate | undefined>
  /** Milliseconds that an answer is kept, 0–604,800,000; never beyond the certificate's end. @default 3600000 */
  readonly ttl?: number
  /** Milliseconds that "there is none" and errors are kept, 0–3,600,000. @default 60000 */
  readonly negativeTtl?: number
  /** Hosts remembered at most, 1–1,000,000; the one not used longest is forgotten. @default 1000 */
  readonly max?: number
}

export interface ClientCertificateOptions {
  /**
   * `require`: no connection without a valid one. `optional`: none, or a valid one. `any`: none, or any; `request.clientCertificate`
   * says whether it is valid.
   */
  readonly verify: 'require' | 'optional' | 'any'
  /** Who may issue them: PEM bundles, or paths. */
  readonly ca: PemOrFile | readonly PemOrFile[]
  /** Revocation lists: PEM, or paths. With one, there has to be one for each issuer in a chain, and none may be out of date. */
  readonly crl?: PemOrFile | readonly PemOrFile[]
}

export interface TicketOptions {
  /** Milliseconds between two keys, 60,000–604,800,000. The same on all machines that share a store. @default 28800000 */
  readonly rotate?: number
  /** Milliseconds that a session may be resumed, 1000–604,800,000. @default 7200000 */
  readonly lifetime?: number
  /** Shares the keys with other processes and machines. @default none: each process has its own */
  readonly store?: TicketStore
}

export interface ReloadOptions {
  /** Milliseconds after which files are read again though no change was told of, 1000–86,400,000. @default 60000 */
  readonly interval?: number
}

export interface HstsOptions {
  /** Seconds that browsers remember it, 0–315,360,000. @default 63072000 */
  readonly maxAge?: number
  /** @default false */
  readonly includeSubDomains?: boolean
  /** Asks to be built into browsers; needs `includeSubDomains` and a year of `maxAge`. @default false */
  readonly preload?: boolean
}

export interface RedirectOptions {
  /** `host:port`, `[::1]:port` or `:port` (all interfaces). @default ':80' */
  readonly listen?: string
  /** Port to send clients to, 1–65,535. @default the one that the app listens on */
  readonly port?: number
  /**
   * Answers `/.well-known/acme-challenge/TOKEN` for an ACME client elsewhere: gives the text for a token, or `undefined`.
   * @default those of `acme` alone
   */
  readonly challenge?: (token: string) => MaybePromise<string | undefined>
}

export interface ProxyProtocolOptions {
  /** Peers that begin with a PROXY header (v1 or v2): addresses, networks such as `10.0.0.0/8`, and `unix` for those of a Unix socket. */
  readonly from: readonly string[]
  /** What becomes of connections from elsewhere: closed, or taken as they are, without a header. @default 'close' */
  readonly others?: 'close' | 'plain'
}

export interface TlsOptions {
  /** @default none: there is a `provider` or `acme` */
  readonly certificates?: readonly CertificateOptions[]
  /** Name of the certificate for clients that name no host. @default the first one */
  readonly default?: string
  /** Clients that name a host for which there is no certificate get the default one, or an alert. @default 'default' */
  readonly unknownHost?: 'default' | 'refuse'
  /**
   * Requests for a host that the certificate of their connection is not for, while another one here is, or with `unknownHost`
   * `'refuse'` none: status 421, so that the client opens a connection for it, or served all the same. @default 'refuse'
   */
  readonly misdirected?: 'refuse' | 'serve'
  /** Finds certificates when they are asked for. */
  readonly provider?: ProviderOptions
  /** Gets certificates from an authority, and renews them. */
  readonly acme?: AcmeOptions
  /** Mozilla's recommendation: `intermediate` (TLS 1.2 and 1.3) or `modern` (TLS 1.3). @default 'intermediate' */
  readonly profile?: Profile
  /** HTTP/2 beside HTTP/1.1, by ALPN: or not, or with settings of `http2.createSecureServer`. @default true */
  readonly http2?: boolean | Http2Options
  /** Ask clients for certificates. @default they are not asked */
  readonly clientCertificates?: ClientCertificateOptions
  /** Send a valid client's certificate to upstreams, as `Client-Cert` (RFC 9440). What clients send under this name never gets there. @default true */
  readonly forwardClientCertificate?: boolean
  /** Resumption of sessions, or none. */
  readonly tickets?: false | TicketOptions
  /** Hand out OCSP responses for certificates that name a responder and came with their issuer. @default true */
  readonly stapling?: boolean
  /** Read certificate files again when they change. */
  readonly reload?: false | ReloadOptions
  /** Milliseconds before the end of a certificate from which on it is warned of, 0–31,536,000,000. @default 1814400000 (21 days) */
  readonly warnBefore?: number
  /** `Strict-Transport-Security` on responses. @default false */
  readonly hsts?: boolean | HstsOptions
  /** A listener for plain HTTP that redirects here with status 308. @default false */
  readonly redirect?: boolean | RedirectOptions
  /** Take clients' addresses from a PROXY header. @default no header is expected */
  readonly proxyProtocol?: ProxyProtocolOptions
  /** Milliseconds for a PROXY header and the first byte, and then for the handshake, 1–600,000. @default 10000 */
  readonly handshakeTimeout?: number
  /** Where time comes from, but for handshakes. @default the system's */
  readonly clock?: Clock
  /** Where chance comes from. @default Math.random */
  readonly random?: () => number
}

/** Settings of `http2.createSecureServer`, and what clients may do. */
export interface Http2Options extends Pick<SecureServerOptions,
  'settings' | 'maxDeflateDynamicTableSize' | 'maxSessionMemory' | 'maxHeaderListPairs' | 'maxOutstandingPings' | 'maxSendHeaderBlockLength' | 'maxSettings' |
  'maxSessionInvalidFrames' | 'maxSessionRejectedStreams'> {
  /** What a client may do on one connection. @default those of {@link Http2Limits} */
  readonly limits?: Http2Limits
}

const number = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum })
const time = (minimum: number, maximum: number): object => ({ ...number(minimum, maximum), unit: 'ms' satisfies OptionUnit })
const integer = (minimum: number, maximum: number): object => ({ type: 'integer', minimum, maximum })
const object = (properties: object, required: string[] = []): object => ({ type: 'object', additionalProperties: false, properties, required })
const text = { type: 'string', minLength: 1 }
const isFunction = { isFunction: true }
// A Buffer is an object to JSON Schema.
const pem = { type: ['string', 'object'], minLength: 1 }
const pems = { anyOf: [pem, { type: 'array', minItems: 1, items: pem }] }
const WEEK = 604_800_000

/** JSON Schema of {@link TlsOptions}. */
export const tlsSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  properties: {
    certificates: {
      type: 'array',
      items: object({
        name: text, cert: pem, key: pem, passphrase: { type: 'string' }, hosts: { type: 'array', minItems: 1, items: text }
      } satisfies Record<keyof CertificateOptions, object>, ['cert', 'key'])
    },
    default: text,
    unknownHost: { type: 'string', enum: ['default', 'refuse'] },
    misdirected: { type: 'string', enum: ['refuse', 'serve'] },
    provider: object({
      find: isFunction, ttl: time(0, WEEK), negativeTtl: time(0, 3_600_000), max: integer(1, 1_000_000)
    } satisfies Record<keyof ProviderOptions, object>, ['find']),
    acme: acmeSchema,
    profile: { type: 'string', enum: profiles },
    http2: {
      anyOf: [{ type: 'boolean' }, object({
        settings: { type: 'object' },
        maxDeflateDynamicTableSize: integer(0, 2 ** 32 - 1),
        maxSessionMemory: integer(1, 65_536),
        maxHeaderListPairs: integer(1, 2 ** 31),
        maxOutstandingPings: integer(1, 2 ** 31),
        maxSendHeaderBlockLength: integer(1, 2 ** 31),
        maxSettings: integer(1, 2 ** 31),
        maxSessionInvalidFrames: integer(1, 2 ** 31),
        maxSessionRejectedStreams: integer(1, 2 ** 31),
        limits: http2LimitsSchema
      } satisfies Record<keyof Http2Options, object>)]
    },
    clientCertificates: object({
      verify: { type: 'string', enum: ['require', 'optional', 'any'] }, ca: pems, crl: pems
    } satisfies Record<keyof ClientCertificateOptions, object>, ['verify', 'ca']),
    forwardClientCertificate: { type: 'boolean' },
    tickets: {
      anyOf: [{ const: false }, object({
        rotate: time(60_000, WEEK), lifetime: time(1000, WEEK), store: { type: 'object', required: ['claim'] }
      } satisfies Record<keyof TicketOptions, object>)]
    },
    stapling: { type: 'boolean' },
    reload: { anyOf: [{ const: false }, object({ interval: time(1000, 86_400_000) } satisfies Record<keyof ReloadOptions, object>)] },
    warnBefore: time(0, 31_536_000_000),
    hsts: {
      anyOf: [{ type: 'boolean' }, object({
        maxAge: integer(0, 315_360_000), includeSubDomains: { type: 'boolean' }, preload: { type: 'boolean' }
      } satisfies Record<keyof HstsOptions, object>)]
    },
    redirect: {
      anyOf: [{ type: 'boolean' }, object({
        listen: text, port: integer(1, 65_535), challenge: isFunction
      } satisfies Record<keyof RedirectOptions, object>)]
    },
    proxyProtocol: object({
      from: { type: 'array', minItems: 1, items: text }, others: { type: 'string', enum: ['close', 'plain'] }
    } satisfies Record<keyof ProxyProtocolOptions, object>, ['from']),
    handshakeTimeout: time(1, 600_000),
    clock: { type: 'object' },
    random: isFunction
  } satisfies Record<keyof TlsOptions, object>
}

/** Checks what can be checked without reading files. Throws `HG_POOL_INVALID_OPTION` with the option's path. */
export function checkTls (options: TlsOptions, path: string): void {
  checkOptions(tlsSchema, options, path)
  const { certificates = [], provider, hsts, acme, redirect = false } = options
  if (certificates.length === 0 && provider === undefined && acme === undefined) refuse(path, "needs 'certificates', a 'provider' or 'acme'", options)
  const names = new Set<string>()
  for (const [index, { hosts = [], ...certificate }] of certificates.entries()) {
    const name = nameOf(certificate, index)
    if (names.has(name)) refuse(`${path}.certificates[${index}].name`, 'must not be that of another one', name)
    names.add(name)
    for (const [at, host] of hosts.entries()) {
      if (!isHostPattern(host)) refuse(`${path}.certificates[${index}].hosts[${at}]`, "must be a host name, or one such as '*.example.com'", host)
    }
  }
  if (acme !== undefined) {
    checkAcme(acme, `${path}.acme`, names, redirect !== false)
    for (const certificate of acme.certificates) names.add(acmeName(certificate))
  }
  if (options.default !== undefined && !names.has(options.default)) refuse(`${path}.default`, `must be one of ${Array.from(names).join(', ') || '(no certificate is named)'}`, options.default)
  if (typeof hsts === 'object' && hsts.preload === true && !(hsts.includeSubDomains === true && (hsts.maxAge ?? Infinity) >= 31_536_000)) {
    refuse(`${path}.hsts.preload`, 'needs includeSubDomains and a maxAge of at least 31536000', true)
  }
}

/** The name of the certificate at `index`. */
export function nameOf (certificate: { readonly name?: string }, index: number): string {
  return certificate.name ?? `certificates[${index}]`
}
