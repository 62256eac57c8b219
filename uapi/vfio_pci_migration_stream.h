/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The device state stream of vfio_pci_migration: what a migration data fd
 * (v2) or the data window of the migration region (v1) carries.
 *
 * A stream is a list of *sequences*, a sequence is a list of *records*:
 *
 *	HEADER  [IDENTITY]  backend records ...  END
 *	HEADER  [IDENTITY]  backend records ...  AHEAD
 *
 * Everything is little endian. A record is a struct vfio_mig_record followed
 * by @length bytes of payload and by zeros up to the next multiple of 8.
 * A sequence that has no END is truncated, whatever the transport says. One with
 * AHEAD is sent while the device works: by it a destination can refuse the
 * source, and prepare itself, before the guest is stopped.
 *
 * A backend's record occurs once in a sequence, unless its type is one of
 * *chunks*: these are parts of something that is too large for one record, occur
 * any number of times, and may stand before, among and behind the others. Which
 * types are, and how long a chunk may be, is the backend's business, as is the
 * content; to the format they are records like all others.
 */
#ifndef _UAPI_VFIO_PCI_MIGRATION_STREAM_H
#define _UAPI_VFIO_PCI_MIGRATION_STREAM_H

#include <linux/types.h>

#define VFIO_MIG_STREAM_MAGIC		"VFIOMIGS"
#define VFIO_MIG_STREAM_MAGIC_LEN	8

#define VFIO_MIG_STREAM_MAJOR		1
#define VFIO_MIG_STREAM_MINOR		1

/* Payloads are padded with zeros to a multiple of this many bytes. */
#define VFIO_MIG_RECORD_ALIGN		8

/*
 * Record types. 0 is never valid, so that zeroed memory is no record. Types
 * from VFIO_MIG_RECORD_BACKEND on belong to the backend named in IDENTITY.
 */
#define VFIO_MIG_RECORD_HEADER		1
#define VFIO_MIG_RECORD_IDENTITY	2
#define VFIO_MIG_RECORD_END		3
#define VFIO_MIG_RECORD_AHEAD		4	/* since 1.1; no payload, not required */
#define VFIO_MIG_RECORD_BACKEND		0x100

/* A reader that does not know this record's type must refuse the stream. */
#define VFIO_MIG_RECORD_REQUIRED	(1 << 0)

/**
 * struct vfio_mig_record - what every record begins with (24 bytes)
 * @type: VFIO_MIG_RECORD_*
 * @flags: VFIO_MIG_RECORD_REQUIRED or 0; other bits are refused
 * @length: bytes of payload that follow, without padding
 * @sequence: number of the sequence; the same in all its records, and larger
 *	than that of the sequence before
 * @index: number of the record in its sequence; HEADER is 0
 * @crc: CRC32C (initial value and final xor ~0) of this header with @crc
 *	taken as 0, the payload and the padding
 * @reserved: 0
 */
struct vfio_mig_record {
	__le16 type;
	__le16 flags;
	__le32 length;
	__le32 sequence;
	__le32 index;
	__le32 crc;
	__le32 reserved;
};

/**
 * struct vfio_mig_header - payload of HEADER, the first record of a sequence
 * @magic: VFIO_MIG_STREAM_MAGIC, without a terminating zero
 * @major: VFIO_MIG_STREAM_MAJOR; a reader refuses any other
 * @minor: VFIO_MIG_STREAM_MINOR; grows with compatible additions
 * @reserved: 0
 * @required: feature bits that a reader must know or else refuse the stream
 *	(-EOPNOTSUPP); none is defined yet
 * @optional: feature bits that a reader may ignore; none is defined yet
 */
struct vfio_mig_header {
	__u8 magic[VFIO_MIG_STREAM_MAGIC_LEN];
	__le16 major;
	__le16 minor;
	__le32 reserved;
	__le64 required;
	__le64 optional;
};

#define VFIO_MIG_BACKEND_NAME_LEN	16

/**
 * struct vfio_mig_identity - payload of IDENTITY: whose state this is
 * @backend: name of the backend, padded with zeros
 * @state_version: version of the backend's records; a reader refuses one that
 *	is newer than its own
 * @vendor: PCI vendor id of the function
 * @device: PCI device id of the function; for a VF the one that its PF's
 *	SR-IOV capability announces
 * @subsystem_vendor: PCI subsystem vendor id
 * @subsystem_device: PCI subsystem id
 * @revision: PCI revision id, for information
 * @reserved: 0
 * @required: backend feature bits that a reader must know (-EOPNOTSUPP)
 * @optional: backend feature bits that a reader may ignore
 *
 * It is the record next to HEADER. The first sequence of a stream has one; it is
 * valid for all later sequences, which may repeat it unchanged.
 */
struct vfio_mig_identity {
	__u8 backend[VFIO_MIG_BACKEND_NAME_LEN];
	__le32 state_version;
	__le16 vendor;
	__le16 device;
	__le16 subsystem_vendor;
	__le16 subsystem_device;
	__u8 revision;
	__u8 reserved[3];
	__le64 required;
	__le64 optional;
};

/**
 * struct vfio_mig_end - payload of END, the last record of a sequence
 * @records: number of records before END in this sequence, HEADER included
 * @crc: CRC32C (initial value and final xor ~0) of all bytes before END in
 *	this sequence, from the first byte of HEADER on
 * @bytes: number of those bytes
 */
struct vfio_mig_end {
	__le32 records;
	__le32 crc;
	__le64 bytes;
};

#endif /* _UAPI_VFIO_PCI_MIGRATION_STREAM_H */
