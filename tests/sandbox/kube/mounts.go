package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mountRoot makes the container's file system, in a new mount namespace of the
// calling thread, and gives its root. The machine's own mounts stay as they are.
func (c *container) mountRoot(image image) (string, error) {
	root := filepath.Join(c.pod.dir, "root", c.Name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return "", fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
		return "", fmt.Errorf("root: %w", err)
	}
	if err := c.fillRoot(root, image); err != nil {
		return "", err
	}
	for _, mount := range c.VolumeMounts {
		source := filepath.Join(c.pod.volumeDir(mount.Name), mount.SubPath)
		if err := bind(source, filepath.Join(root, mount.MountPath), mount.ReadOnly); err != nil {
			return "", err
		}
	}
	return root, nil
}

func (c *container) fillRoot(root string, image image) error {
	tmp := filepath.Join(root, "tmp")
	if err := os.Mkdir(tmp, 0o777); err != nil {
		return err
	}
	// Mkdir obeys the umask.
	if err := os.Chmod(tmp, 0o1777); err != nil {
		return err
	}
	if err := bind(image.program, filepath.Join(root, image.entrypoint()), true); err != nil {
		return err
	}
	for _, device := range []string{"/dev/null", "/dev/zero", "/dev/urandom"} {
		if err := bind(device, filepath.Join(root, device), false); err != nil {
			return err
		}
	}
	if _, err := os.Stat("/etc/ssl"); err == nil {
		if err := bind("/etc/ssl", filepath.Join(root, "etc/ssl"), true); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		return err
	}
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost\n%s\t%s\n", c.pod.ip, c.pod.Name)
	return os.WriteFile(filepath.Join(root, "etc/hosts"), []byte(hosts), 0o644)
}

// bind makes a file or folder appear at another place too.
func bind(source, target string, readOnly bool) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if err := makeMountPoint(target, info.IsDir()); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if !readOnly {
		return nil
	}
	// In a user namespace, a remount would have to repeat the mount's locked flags.
	attributes := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, attributes); err != nil {
		return fmt.Errorf("%s, read-only: %w", target, err)
	}
	return nil
}

func makeMountPoint(target string, folder bool) error {
	if folder {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

func (p *pod) volumeDir(name string) string {
	return filepath.Join(p.dir, "volumes", name)
}
