import type { CheckKind } from './contract.ts'
import { dns, type DnsOptions } from './dns.ts'
import { mysql, type MysqlOptions } from './mysql.ts'
import { postgres, type PostgresOptions } from './postgres.ts'
import { redis, type RedisOptions } from './redis.ts'
import { smtp, type SmtpOptions } from './smtp.ts'
import { tls, type TlsHandshakeOptions } from './tls-handshake.ts'

/** The checks that go by a name. */
export const checkKinds: {
  readonly redis: CheckKind<RedisOptions>
  readonly postgres: CheckKind<PostgresOptions>
  readonly mysql: CheckKind<MysqlOptions>
  readonly smtp: CheckKind<SmtpOptions>
  readonly dns: CheckKind<DnsOptions>
  readonly tls: CheckKind<TlsHandshakeOptions>
} = { redis, postgres, mysql, smtp, dns, tls }

/** A check by its name, with its options beside it. */
export type NamedCheck =
  | ({ readonly type: 'redis' } & RedisOptions)
  | ({ readonly type: 'postgres' } & PostgresOptions)
  | ({ readonly type: 'mysql' } & MysqlOptions)
  | ({ readonly type: 'smtp' } & SmtpOptions)
  | ({ readonly type: 'dns' } & DnsOptions)
  | ({ readonly type: 'tls' } & TlsHandshakeOptions)

export { connectCheck } from './connect.ts'
export type { CheckResult, StreamCheck } from './contract.ts'
export { dnsCheck } from './dns.ts'
export { mysqlCheck } from './mysql.ts'
export { postgresCheck } from './postgres.ts'
export { redisCheck } from './redis.ts'
export { sendExpectCheck, type SendExpectOptions } from './send-expect.ts'
export { smtpCheck } from './smtp.ts'
export { tlsHandshakeCheck } from './tls-handshake.ts'
export type { CheckKind, DnsOptions, MysqlOptions, PostgresOptions, RedisOptions, SmtpOptions, TlsHandshakeOptions }
