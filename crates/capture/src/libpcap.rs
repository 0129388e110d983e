//! libpcap, looked for when it is wanted and never before: the program runs without it. Only this
//! module calls into it.
#![allow(unsafe_code)]

use std::error::Error as _;
use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_uint};
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::{self, NonNull};

use libloading::Library;

/// Names of the library, in the order they are tried.
const NAMES: [&str; 2] = ["libpcap.so.1", "libpcap.so.0.8"];

/// Length of libpcap's message buffers (PCAP_ERRBUF_SIZE).
const MESSAGE_LEN: usize = 256;
const PRECISION_NANO: c_int = 1;
const NETMASK_UNKNOWN: c_uint = u32::MAX;

/// Why libpcap cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LibpcapError {
    /// It is not installed.
    #[error(
        "libpcap is not installed ({reason}): install it (Debian and Ubuntu: `apt install \
         libpcap0.8`, Fedora: `dnf install libpcap`), or use af_packet, which needs no library"
    )]
    Absent {
        /// The loader's answer.
        reason: String,
    },
    /// It is there, but lacks a function.
    #[error("the installed libpcap is too old or damaged: {reason}")]
    Unusable {
        /// The loader's answer.
        reason: String,
    },
    /// The filter is not one.
    #[error("filter `{filter}`: {reason}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// libpcap's message.
        reason: String,
    },
    /// The device cannot be opened.
    #[error("{device}: {step}: {reason}")]
    Device {
        /// The device as given.
        device: String,
        /// What was tried.
        step: &'static str,
        /// libpcap's message.
        reason: String,
    },
}

/// `pcap_t`, which only libpcap looks into.
#[repr(C)]
struct Pcap {
    _opaque: [u8; 0],
}

/// `struct bpf_program`; its instructions are those of the kernel.
#[repr(C)]
struct BpfProgram {
    length: c_uint,
    instructions: *mut libc::sock_filter,
}

/// `struct pcap_pkthdr`.
#[repr(C)]
struct PacketHeader {
    time: libc::timeval,
    captured: u32,
    length: u32,
}

/// `struct pcap_stat`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) received: c_uint,
    pub(crate) dropped: c_uint,
    pub(crate) dropped_by_interface: c_uint,
}

macro_rules! functions {
    ($($field:ident = $symbol:literal: fn($($argument:ty),*) $(-> $answer:ty)?;)*) => {
        /// The functions that are used, and the library that holds them.
        struct Functions {
            $($field: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)*
            /// Last, so that it goes last.
            _library: Library,
        }

        impl Functions {
            fn find(library: Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    $(
                        // SAFETY: the type is that of the function in libpcap's header.
                        $field: *unsafe { library.get($symbol)? },
                    )*
                    _library: library,
                })
            }
        }
    };
}

functions! {
    create = b"pcap_create": fn(*const c_char, *mut c_char) -> *mut Pcap;
    set_snaplen = b"pcap_set_snaplen": fn(*mut Pcap, c_int) -> c_int;
    set_promisc = b"pcap_set_promisc": fn(*mut Pcap, c_int) -> c_int;
    set_timeout = b"pcap_set_timeout": fn(*mut Pcap, c_int) -> c_int;
    set_buffer_size = b"pcap_set_buffer_size": fn(*mut Pcap, c_int) -> c_int;
    set_precision = b"pcap_set_tstamp_precision": fn(*mut Pcap, c_int) -> c_int;
    precision = b"pcap_get_tstamp_precision": fn(*mut Pcap) -> c_int;
    activate = b"pcap_activate": fn(*mut Pcap) -> c_int;
    set_nonblock = b"pcap_setnonblock": fn(*mut Pcap, c_int, *mut c_char) -> c_int;
    selectable_fd = b"pcap_get_selectable_fd": fn(*mut Pcap) -> c_int;
    datalink = b"pcap_datalink": fn(*mut Pcap) -> c_int;
    next_ex = b"pcap_next_ex": fn(*mut Pcap, *mut *mut PacketHeader, *mut *const c_uchar) -> c_int;
    stats = b"pcap_stats": fn(*mut Pcap, *mut Statistics) -> c_int;
    open_dead = b"pcap_open_dead": fn(c_int, c_int) -> *mut Pcap;
    compile = b"pcap_compile": fn(*mut Pcap, *mut BpfProgram, *const c_char, c_int, c_uint) -> c_int;
    set_filter = b"pcap_setfilter": fn(*mut Pcap, *mut BpfProgram) -> c_int;
    free_code = b"pcap_freecode": fn(*mut BpfProgram);
    message = b"pcap_geterr": fn(*mut Pcap) -> *const c_char;
    status_text = b"pcap_statustostr": fn(c_int) -> *const c_char;
    close = b"pcap_close": fn(*mut Pcap);
}

fn load() -> Result<Functions, LibpcapError> {
    let mut reason = String::new();
    for name in NAMES {
        // SAFETY: loading libpcap runs no initialiser that depends on anything here.
        match unsafe { Library::new(name) } {
            Ok(library) => {
                return Functions::find(library)
                    .map_err(|error| LibpcapError::Unusable { reason: loader_text(&error) });
            }
            Err(error) => reason = loader_text(&error),
        }
    }
    Err(LibpcapError::Absent { reason })
}

/// What the loader says, which is behind the crate's own words.
fn loader_text(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// How a device is opened.
#[derive(Clone, Debug)]
pub(crate) struct DeviceOptions<'a> {
    pub(crate) device: &'a str,
    pub(crate) snap_length: u32,
    pub(crate) promiscuous: bool,
    /// Milliseconds after which packets are handed over though the buffer is not full.
    pub(crate) hand_over_ms: u32,
    pub(crate) buffer: usize,
    pub(crate) filter: Option<&'a str>,
}

/// One packet, as libpcap gives it.
pub(crate) struct PcapPacket<'a> {
    pub(crate) seconds: u64,
    pub(crate) nanoseconds: u32,
    pub(crate) wire_length: u32,
    pub(crate) data: &'a [u8],
}

/// An open handle, closed when dropped.
pub(crate) struct Handle {
    pcap: NonNull<Pcap>,
    functions: Functions,
    nanoseconds: bool,
}

// SAFETY: a handle may be used by any thread, one at a time; everything that touches it takes
// `&mut self`, or reads a value that does not change after activation.
unsafe impl Send for Handle {}

impl Handle {
    /// Opens a device for live capture, without blocking reads.
    pub(crate) fn open(options: &DeviceOptions<'_>) -> Result<Self, LibpcapError> {
        let functions = load()?;
        let fail =
            |step, reason| LibpcapError::Device { device: options.device.to_owned(), step, reason };
        let device = CString::new(options.device)
            .map_err(|_| fail("opening", "the name contains a NUL".to_owned()))?;
        let mut text = [0; MESSAGE_LEN];
        // SAFETY: a C string and a buffer of the size that libpcap asks for.
        let pcap = unsafe { (functions.create)(device.as_ptr(), text.as_mut_ptr()) };
        let Some(pcap) = NonNull::new(pcap) else {
            return Err(fail("opening", buffer_text(&text)));
        };
        let mut handle = Self { pcap, functions, nanoseconds: false };
        handle.configure(options);
        // SAFETY: created and not activated yet.
        let status = unsafe { (handle.functions.activate)(handle.pcap.as_ptr()) };
        if status < 0 {
            let reason = handle.status_text(status);
            return Err(fail("activating", reason));
        }
        // SAFETY: activated.
        let precision = unsafe { (handle.functions.precision)(handle.pcap.as_ptr()) };
        handle.nanoseconds = precision == PRECISION_NANO;
        if let Some(filter) = options.filter {
            handle.set_filter(filter)?;
        }
        // SAFETY: activated; the buffer has the size that libpcap asks for.
        let status =
            unsafe { (handle.functions.set_nonblock)(handle.pcap.as_ptr(), 1, text.as_mut_ptr()) };
        if status < 0 {
            return Err(fail("setting to non-blocking", buffer_text(&text)));
        }
        Ok(handle)
    }

    /// Sets what is set before activation. A device that does not know an option says so when it
    /// is activated, or does without.
    fn configure(&mut self, options: &DeviceOptions<'_>) {
        let number = |value| c_int::try_from(value).unwrap_or(c_int::MAX);
        let functions = &self.functions;
        let settings: [(unsafe extern "C" fn(*mut Pcap, c_int) -> c_int, c_int); 5] = [
            (functions.set_snaplen, number(options.snap_length as usize)),
            (functions.set_promisc, c_int::from(options.promiscuous)),
            (functions.set_timeout, number(options.hand_over_ms as usize)),
            (functions.set_buffer_size, number(options.buffer)),
            (functions.set_precision, PRECISION_NANO),
        ];
        for (set, value) in settings {
            // SAFETY: created and not activated yet, as these functions want it.
            unsafe { set(self.pcap.as_ptr(), value) };
        }
    }

    fn set_filter(&mut self, filter: &str) -> Result<(), LibpcapError> {
        let mut program = self.compile(filter)?;
        // SAFETY: the program was compiled for this handle.
        let status = unsafe { (self.functions.set_filter)(self.pcap.as_ptr(), &raw mut program) };
        // SAFETY: compiled by libpcap and not freed yet; the handle has its own copy.
        unsafe { (self.functions.free_code)(&raw mut program) };
        if status < 0 {
            let reason = self.last_message();
            return Err(LibpcapError::Filter { filter: filter.to_owned(), reason });
        }
        Ok(())
    }

    /// The program must be given back with `free_code`.
    fn compile(&mut self, filter: &str) -> Result<BpfProgram, LibpcapError> {
        let fail = |reason| LibpcapError::Filter { filter: filter.to_owned(), reason };
        let text = CString::new(filter).map_err(|_| fail("the text contains a NUL".to_owned()))?;
        let mut program = BpfProgram { length: 0, instructions: ptr::null_mut() };
        // SAFETY: an open handle, a program to fill and a C string; 1 asks to optimise.
        let status = unsafe {
            (self.functions.compile)(
                self.pcap.as_ptr(),
                &raw mut program,
                text.as_ptr(),
                1,
                NETMASK_UNKNOWN,
            )
        };
        if status < 0 { Err(fail(self.last_message())) } else { Ok(program) }
    }

    /// The next packet, `None` when there is none yet.
    pub(crate) fn next_packet(&mut self) -> Result<Option<PcapPacket<'_>>, String> {
        let mut header: *mut PacketHeader = ptr::null_mut();
        let mut data: *const c_uchar = ptr::null();
        // SAFETY: an active handle and two pointers to fill.
        let status =
            unsafe { (self.functions.next_ex)(self.pcap.as_ptr(), &raw mut header, &raw mut data) };
        match status {
            0 => return Ok(None),
            1 => {}
            _ => return Err(self.last_message()),
        }
        // SAFETY: filled by libpcap, valid until the next call, which needs `&mut self`.
        let Some(header) = (unsafe { header.as_ref() }) else { return Ok(None) };
        let data = if data.is_null() || header.captured == 0 {
            &[][..]
        } else {
            // SAFETY: libpcap gives that many bytes, valid until the next call, as above.
            unsafe { std::slice::from_raw_parts(data, header.captured as usize) }
        };
        let fraction = u32::try_from(header.time.tv_usec).unwrap_or_default();
        Ok(Some(PcapPacket {
            seconds: u64::try_from(header.time.tv_sec).unwrap_or_default(),
            nanoseconds: if self.nanoseconds { fraction } else { fraction.saturating_mul(1000) },
            wire_length: header.length.max(header.captured),
            data,
        }))
    }

    /// The device's link type, as libpcap numbers it in memory (DLT).
    pub(crate) fn datalink(&self) -> u32 {
        // SAFETY: an active handle.
        let value = unsafe { (self.functions.datalink)(self.pcap.as_ptr()) };
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    /// What to wait on, when the device has something like that.
    pub(crate) fn selectable_fd(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: an active handle.
        let fd: RawFd = unsafe { (self.functions.selectable_fd)(self.pcap.as_ptr()) };
        // SAFETY: the descriptor is the handle's own and open as long as the handle.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Counters since the device was opened; they are 32 bits wide and wrap.
    pub(crate) fn statistics(&mut self) -> Option<Statistics> {
        let mut statistics = Statistics::default();
        // SAFETY: an active handle and a struct to fill.
        let status = unsafe { (self.functions.stats)(self.pcap.as_ptr(), &raw mut statistics) };
        (status == 0).then_some(statistics)
    }

    fn last_message(&self) -> String {
        // SAFETY: an open handle; the text is inside it.
        let text = unsafe { (self.functions.message)(self.pcap.as_ptr()) };
        text_at(text)
    }

    /// The text of a status and, where there is more to say, the handle's message.
    fn status_text(&self, status: c_int) -> String {
        // SAFETY: gives a static text for every number.
        let status = text_at(unsafe { (self.functions.status_text)(status) });
        let message = self.last_message();
        if message.is_empty() || message == status {
            status
        } else {
            format!("{status}: {message}")
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: open, and not used again.
        unsafe { (self.functions.close)(self.pcap.as_ptr()) };
    }
}

/// Compiles a filter in tcpdump's language for frames of a link type (DLT), to be attached to a
/// socket.
pub(crate) fn compile_filter(
    filter: &str,
    datalink: u32,
    snap_length: u32,
) -> Result<Vec<libc::sock_filter>, LibpcapError> {
    if filter.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "vlan") {
        let reason = "`vlan` looks for the tag in the frame, where the kernel has taken it off; \
                      use the built-in filter (`vlan ID and ...`) or capture through libpcap";
        let (filter, reason) = (filter.to_owned(), reason.to_owned());
        return Err(LibpcapError::Filter { filter, reason });
    }
    let functions = load()?;
    // SAFETY: takes numbers only.
    let pcap = unsafe { (functions.open_dead)(datalink as c_int, snap_length as c_int) };
    let Some(pcap) = NonNull::new(pcap) else {
        let reason = "no memory".to_owned();
        return Err(LibpcapError::Filter { filter: filter.to_owned(), reason });
    };
    let mut handle = Handle { pcap, functions, nanoseconds: false };
    let mut program = handle.compile(filter)?;
    let code = if program.instructions.is_null() {
        Vec::new()
    } else {
        // SAFETY: libpcap states the length of its own array, which is not freed yet.
        unsafe { std::slice::from_raw_parts(program.instructions, program.length as usize) }
            .to_vec()
    };
    // SAFETY: compiled above, not freed yet, and not used again.
    unsafe { (handle.functions.free_code)(&raw mut program) };
    Ok(code)
}

fn text_at(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: libpcap gives C strings.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn buffer_text(buffer: &[c_char; MESSAGE_LEN]) -> String {
    let bytes: Vec<u8> = buffer.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
