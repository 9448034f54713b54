# An example of a recipe for Yocto (kirkstone and later): put it into a layer, with the tarball of `make dist` beside it in files/.
# Berkeley DB must be 5.3, as oe-core's db is; libevent and openssl are in oe-core too, inih is meta-oe's libinih.

SUMMARY = "Edge relay for the Device Sync (Realm) protocol"
SECTION = "net"
LICENSE = "CLOSED"

SRC_URI = "file://holdfast-${PV}.tar.gz"

DEPENDS = "libevent openssl zlib db libinih"

inherit pkgconfig systemd useradd

SYSTEMD_SERVICE:${PN} = "holdfast.service"
# It starts once [upstream] url is set; an image that sets it says "enable".
SYSTEMD_AUTO_ENABLE = "disable"

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --no-create-home --home-dir /var/lib/holdfast --shell /sbin/nologin --user-group holdfast"

B = "${WORKDIR}/build"

do_configure() {
	${S}/configure --host=${HOST_SYS} --build=${BUILD_SYS} --prefix=${prefix} --sysconfdir=${sysconfdir} \
		--localstatedir=${localstatedir} --mandir=${mandir} --with-systemdsystemunitdir=${systemd_system_unitdir} \
		CC="${CC}" CFLAGS="${CFLAGS}" LDFLAGS="${LDFLAGS}" PKG_CONFIG="pkg-config"
}

do_compile() {
	oe_runmake
}

do_install() {
	oe_runmake install DESTDIR=${D}
}

FILES:${PN} += "${systemd_system_unitdir} ${nonarch_libdir}/sysusers.d ${nonarch_libdir}/tmpfiles.d ${datadir}/bash-completion"
CONFFILES:${PN} = "${sysconfdir}/holdfast/holdfast.ini"
