import type { OptionUnit } from '../options.ts'

/** How members are spoken to. */
export type MemberProtocol = 'http' | 'https' | 'tcp' | 'tls' | 'udp'

export const protocolSchema: object = { type: 'string', enum: ['http', 'https', 'tcp', 'tls', 'udp'] satisfies MemberProtocol[] }
export const timeSchema = (minimum: number, maximum: number): object => ({ type: 'number', minimum, maximum, unit: 'ms' satisfies OptionUnit })

/** A host as it stands in a URL. */
export const bracketed = (host: string): string => host.includes(':') ? `[${host}]` : host
