/** Writes a MaxMind DB file, format version 2.0, in which one IPv4 network has one record. */
export function mmdb (network: string, record: object): Buffer {
  const [address = '', bits = '0'] = network.split('/')
  const number = address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0)
  const depth = Number(bits)
  // One node a bit: the network's way goes on, all others end in nothing.
  const tree = Buffer.alloc(depth * 6)
  for (let node = 0; node < depth; node++) {
    const bit = Math.floor(number / 2 ** (31 - node)) % 2
    tree.writeUIntBE(depth, node * 6 + (1 - bit) * 3, 3)
    tree.writeUIntBE(node === depth - 1 ? depth + 16 : node + 1, node * 6 + bit * 3, 3)
  }
  const metadata = {
    binary_format_major_version: 2, binary_format_minor_version: 0, build_epoch: 1, database_type: 'Test-City', description: { en: 'test' }, ip_version: 4,
    languages: ['en'], node_count: depth, record_size: 24
  }
  return Buffer.concat([tree, Buffer.alloc(16), encoded(record, true), Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1'), encoded(metadata, false)])
}

function encoded (value: unknown, doubles: boolean): Buffer {
  if (typeof value === 'string') return Buffer.concat([Buffer.from([2 << 5 | Buffer.byteLength(value)]), Buffer.from(value)])
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(doubles ? 9 : 5)
    bytes[0] = doubles ? 3 << 5 | 8 : 6 << 5 | 4
    if (doubles) bytes.writeDoubleBE(value, 1)
    else bytes.writeUInt32BE(value, 1)
    return bytes
  }
  if (Array.isArray(value)) return Buffer.concat([Buffer.from([value.length, 4]), ...value.map((item) => encoded(item, doubles))])
  const entries = Object.entries(value as object)
  return Buffer.concat([Buffer.from([7 << 5 | entries.length]), ...entries.flatMap(([name, inner]) => [encoded(name, doubles), encoded(inner, doubles)])])
}
