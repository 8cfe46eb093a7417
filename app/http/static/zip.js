// Writes a ZIP archive of uncompressed files (APPNOTE.TXT of PKWARE, 4.3).

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

// files: {name, data: Uint8Array}, with names in ASCII. Returns a Blob.
export function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, data } of files) {
    const encoded = new TextEncoder().encode(name);
    // Version 2.0, no flags, no compression, midnight of 1 January 1980, and what the data is.
    const size = data.length;
    const common = fields([20, 2], [0, 2], [0, 2], [0, 2], [33, 2], [crc32(data), 4], [size, 4], [size, 4]);
    const lengths = fields([encoded.length, 2], [0, 2]);
    parts.push(fields([0x04034b50, 4]), common, lengths, encoded, data);
    const place = fields([0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]);
    directory.push(fields([0x02014b50, 4], [20, 2]), common, lengths, place, encoded);
    offset += 30 + encoded.length + size;
  }
  const directorySize = directory.reduce((sum, part) => sum + part.length, 0);
  const count = files.length;
  const end = fields([0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [directorySize, 4], [offset, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

// Encodes [value, bytes] pairs, little-endian.
function fields(...pairs) {
  return Uint8Array.from(
    pairs.flatMap(([value, bytes]) => Array.from({ length: bytes }, (_, index) => value >>> (8 * index))),
  );
}

function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}
