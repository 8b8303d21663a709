import { randomBytes } from 'node:crypto'
import { type ProxyTlv, tlvTypes, writeProxyV1, writeProxyV2 } from '@headgate/core'
import type { ClientInfo } from './entry.ts'

/** What upstreams are told by a PROXY header of version 2, beside the client's addresses. */
export interface SendProxyOptions {
  readonly version: 2
  /** CRC32C of the header. @default true */
  readonly checksum?: boolean
  /** The host name that the client asked for by TLS, where it is known. @default true */
  readonly authority?: boolean
  /** The ALPN protocol: what was agreed on, or the first that the client offers where TLS passes through. @default true */
  readonly alpn?: boolean
  /** A name for the connection, unique in time and space: the one that it came with, or a new one. @default false */
  readonly uniqueId?: boolean
}

/** Makes the header of one connection. */
export type ProxyWriter = (info: ClientInfo) => Buffer

/** The writer for an option; `undefined` for none. */
export function proxyWriter (option: 'v1' | 'v2' | SendProxyOptions | undefined): ProxyWriter | undefined {
  if (option === undefined) return undefined
  if (option === 'v1') return (info) => writeProxyV1(endsOf(info))
  const { checksum = true, authority = true, alpn = true, uniqueId = false } = option === 'v2' ? {} : option
  return (info) => {
    const tlvs: ProxyTlv[] = []
    if (authority && info.serverName !== '') tlvs.push({ type: tlvTypes.authority, value: Buffer.from(info.serverName) })
    if (alpn && info.alpn[0] !== undefined) tlvs.push({ type: tlvTypes.alpn, value: Buffer.from(info.alpn[0], 'latin1') })
    if (uniqueId) tlvs.push({ type: tlvTypes.uniqueId, value: info.tlvs.find(({ type }) => type === tlvTypes.uniqueId)?.value ?? randomBytes(16) })
    return writeProxyV2(endsOf(info), { tlvs, checksum })
  }
}

/** The ends of a Unix socket's connection have no addresses. */
function endsOf ({ clientAddress, clientPort, destination }: ClientInfo): Parameters<typeof writeProxyV1>[0] {
  return clientAddress === '' ? undefined : { source: { address: clientAddress, port: clientPort }, destination }
}
