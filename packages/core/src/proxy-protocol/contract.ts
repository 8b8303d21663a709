/** One end of the connection that a PROXY header speaks of. */
export interface ProxyEndpoint {
  /** IPv4 or IPv6 in its usual text form, or the path of a Unix socket ('' for an unnamed one). */
  readonly address: string
  /** 0–65535; 0 for Unix sockets. */
  readonly port: number
}

/** A type-length-value field of version 2; see {@link tlvTypes}. */
export interface ProxyTlv {
  /** 0–255. */
  readonly type: number
  /** At most 65,535 bytes. */
  readonly value: Buffer
}

/** What a PROXY header says. */
export interface ProxyHeader {
  readonly version: 1 | 2
  /**
   * The real ends; `undefined` where the header names none (v1 `UNKNOWN`, v2 `LOCAL` and `UNSPEC`): then those of the socket
   * are the real ones.
   */
  readonly ends: { readonly source: ProxyEndpoint; readonly destination: ProxyEndpoint } | undefined
  /** What the client's connection is made of. */
  readonly transport: 'stream' | 'datagram' | 'unspecified'
  /** All fields of v2 but padding and checksum, in order. */
  readonly tlvs: readonly ProxyTlv[]
}

/** Types of fields, section 2.2 of the protocol's text. */
export const tlvTypes = {
  alpn: 0x01,
  authority: 0x02,
  crc32c: 0x03,
  noop: 0x04,
  uniqueId: 0x05,
  ssl: 0x20,
  netns: 0x30
} as const

/** What came is no PROXY header, or a broken one. `reason` is a word or two for counters. */
export class ProxyProtocolError extends Error {
  readonly reason: string

  constructor (reason: string) {
    super(`not a valid PROXY protocol header: ${reason}`)
    this.name = 'ProxyProtocolError'
    this.reason = reason
  }
}
