import fc from 'fast-check'
import { SocketAddress } from 'node:net'
import t from 'tap'
import { crc32c, parseProxyHeader, ProxyProtocolError, type ProxyTlv, tlvTypes, writeProxyV1, writeProxyV2 } from '../../src/index.ts'

const ipv6 = (text: string): string => new SocketAddress({ address: text, family: 'ipv6' }).address
const end = (address: fc.Arbitrary<string>) => fc.record({ address, port: fc.nat(65_535) })
const ends = fc.oneof(
  fc.record({ source: end(fc.ipV4()), destination: end(fc.ipV4()) }),
  fc.record({ source: end(fc.ipV6().map(ipv6)), destination: end(fc.ipV6().map(ipv6)) })
).map(({ source, destination }) => ({
  // IPv4 in IPv6 is written as IPv4 where both are: a test of its own.
  source: source.address.startsWith('::ffff:') ? { ...source, address: '::1' } : source,
  destination: destination.address.startsWith('::ffff:') ? { ...destination, address: '::2' } : destination
}))
const tlvs = fc.array(fc.record({
  type: fc.nat(255).filter((type) => type !== tlvTypes.crc32c && type !== tlvTypes.noop),
  value: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))
}), { maxLength: 5 })

t.test('what is written is read again, whatever follows it and however it is split', async (t) => {
  fc.assert(fc.property(ends, tlvs, fc.boolean(), fc.integer({ min: 1, max: 2 }), fc.uint8Array({ maxLength: 20 }), (ends, tlvs, checksum, version, rest) => {
    const written = version === 1 ? writeProxyV1(ends) : writeProxyV2(ends, { tlvs, checksum })
    const bytes = Buffer.concat([written, rest])
    for (let i = 0; i < written.length; i++) if (parseProxyHeader(bytes.subarray(0, i)) !== undefined) throw new Error(`complete at ${i}`)
    const { header, length } = parseProxyHeader(bytes)!
    t.equal(length, written.length)
    t.same(header.ends, ends)
    t.same(header.tlvs, version === 1 ? [] : tlvs)
    t.equal(header.version, version)
  }), { numRuns: 200 })
})

t.test('no byte of a header with a checksum can be changed unnoticed', async (t) => {
  const written = writeProxyV2({ source: { address: '10.0.0.1', port: 1 }, destination: { address: '10.0.0.2', port: 2 } }, {
    tlvs: [{ type: tlvTypes.authority, value: Buffer.from('a.example') }], checksum: true
  })
  for (let at = 0; at < written.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const bytes = Buffer.from(written)
      bytes[at]! ^= 1 << bit
      try {
        const read = parseProxyHeader(bytes)
        // A LOCAL header is to be taken without its addresses, a longer one waits for its end, and the field's type may have
        // become another's: nothing to check then.
        const spared = read === undefined || at === 12 || (at >= written.length - 7)
        if (!spared) t.fail(`byte ${at}, bit ${bit}`)
      } catch (error) {
        if (!(error instanceof ProxyProtocolError)) throw error
      }
    }
  }
  t.pass()
})

t.test('CRC32C: the check value, and RFC 3720 appendix B.4', async (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  t.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
  t.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
})

t.test("the protocol's own forms", async (t) => {
  const v1 = (line: string) => parseProxyHeader(Buffer.from(line, 'latin1'))?.header
  t.same(v1('PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET'), {
    version: 1, transport: 'stream', tlvs: [], ends: { source: { address: '192.168.0.1', port: 56324 }, destination: { address: '192.168.0.11', port: 443 } }
  })
  t.match(v1('PROXY UNKNOWN ffff:f...f:ffff whatever\r\n'), { ends: undefined })
  t.match(v1('PROXY UNKNOWN\r\n'), { ends: undefined })
  t.equal(writeProxyV1(undefined).toString(), 'PROXY UNKNOWN\r\n')
  const local = Buffer.concat([writeProxyV2(undefined).subarray(0, 12), Buffer.from([0x20, 0x11, 0, 3, 9, 9, 9])])
  t.same(parseProxyHeader(local), { header: { version: 2, ends: undefined, transport: 'stream', tlvs: [] }, length: 19 })
  const unix = Buffer.alloc(16 + 216)
  writeProxyV2(undefined).copy(unix)
  unix[13] = 0x31
  unix.writeUInt16BE(216, 14)
  unix.write('/run/a.sock', 16)
  t.match(parseProxyHeader(unix)!.header.ends, { source: { address: '/run/a.sock', port: 0 }, destination: { address: '' } })
})

t.test('one family for both ends', async (t) => {
  const mapped = { source: { address: '::ffff:10.0.0.1', port: 1 }, destination: { address: '10.0.0.2', port: 2 } }
  t.equal(writeProxyV1(mapped).toString(), 'PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n')
  const mixed = { source: { address: 'fe80::1%eth0', port: 1 }, destination: { address: '10.0.0.2', port: 2 } }
  t.equal(writeProxyV1(mixed).toString(), 'PROXY TCP6 fe80::1 ::ffff:10.0.0.2 1 2\r\n')
  t.match(parseProxyHeader(writeProxyV2(mixed))!.header.ends, { source: { address: 'fe80::1' }, destination: { address: '::ffff:10.0.0.2' } })
  t.equal(writeProxyV2({ source: { address: '', port: 0 }, destination: { address: '/x', port: 0 } })[13], 0, 'Unix sockets: no ends')
})

t.test('refused at the first byte that is wrong', async (t) => {
  const refused = (bytes: Buffer, reason: string): void => {
    t.throws(() => parseProxyHeader(bytes), { name: 'ProxyProtocolError', reason }, bytes.toString('latin1').slice(0, 40))
  }
  refused(Buffer.from('GET / HTTP/1.1\r\n'), 'no signature')
  refused(Buffer.from('PRI * HTTP'), 'no signature')
  refused(Buffer.from('\r\n\r\n\0\r\nX'), 'no signature')
  refused(Buffer.from('PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n'), 'bad byte')
  refused(Buffer.from('PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rX'), 'bad line end')
  refused(Buffer.from('PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n'), 'bad address')
  refused(Buffer.from('PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n'), 'bad address')
  refused(Buffer.from('PROXY TCP4 ::1 ::2 1 2\r\n'), 'bad address')
  refused(Buffer.from('PROXY TCP6 fe80::1%lo ::2 1 2\r\n'), 'bad address')
  refused(Buffer.from('PROXY TCP5 ::1 ::2 1 2\r\n'), 'bad family')
  for (const port of ['65536', '-1', '01', '1.0', '', '0x1']) refused(Buffer.from(`PROXY TCP4 1.1.1.1 2.2.2.2 ${port} 2\r\n`), 'bad port')
  refused(Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`), 'too long')
  t.ok(parseProxyHeader(Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`)), '107 bytes are allowed')
  const v2 = (...bytes: number[]): Buffer => Buffer.concat([writeProxyV2(undefined).subarray(0, 12), Buffer.from(bytes)])
  refused(v2(0x11), 'bad version')
  refused(v2(0x22, 0, 0, 0), 'bad command')
  refused(v2(0x21, 0x41, 0, 0), 'bad family')
  refused(v2(0x21, 0x13, 0, 0), 'bad family')
  refused(v2(0x21, 0x11, 0, 11), 'too short')
  refused(v2(0x21, 0x11, 0xff, 0xff), 'too long')
  refused(v2(0x21, 0, 0, 2, 1, 0), 'bad field')
  refused(v2(0x21, 0, 0, 3, 1, 0, 1), 'bad field')
  refused(v2(0x21, 0, 0, 5, 3, 0, 2, 0, 0), 'bad checksum')
})

t.test('no input throws anything else, or waits beyond the limit', async (t) => {
  const start = fc.constantFrom(Buffer.alloc(0), Buffer.from('PROXY '), Buffer.from('PROXY TCP4 '), writeProxyV2(undefined).subarray(0, 12), Buffer.from('0d0a0d0a000d0a515549540a2111', 'hex'))
  fc.assert(fc.property(start, fc.uint8Array({ maxLength: 700, size: 'max' }), (start, rest) => {
    const bytes = Buffer.concat([start, rest])
    try {
      const read = parseProxyHeader(bytes, 536)
      if (read === undefined && bytes.length >= 536) throw new Error('waits for ever')
      if (read !== undefined && read.length > bytes.length) throw new Error('longer than what came')
    } catch (error) {
      if (!(error instanceof ProxyProtocolError)) throw error
    }
  }), { numRuns: 2000 })
  t.pass()
})

t.test('fields are copies: the read buffer is used again', async (t) => {
  const bytes = writeProxyV2(undefined, { tlvs: [{ type: 2, value: Buffer.from('name') }] satisfies ProxyTlv[] })
  const [tlv] = parseProxyHeader(bytes)!.header.tlvs
  bytes.fill(0)
  t.equal(tlv!.value.toString(), 'name')
})
